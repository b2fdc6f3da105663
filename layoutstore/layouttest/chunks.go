package layouttest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Split splits an archive into chunks beside it, and removes the archive. As in d8 mirror pull, a
// chunk ends with the first write that reaches limit bytes, and writes have unequal sizes. So every
// chunk but the last has at least limit bytes, and few have the same size. The last chunk has fewer
// bytes and may be empty (deckhouse-cli, docs/mirror-bundle-layout.md §4.3 and
// internal/mirror/chunked/chunk_writer.go). d8 writes up to 512 KiB at once; if limit is small,
// Split writes less.
func Split(tb TB, archive string, limit int64) (chunks []string) {
	tb.Helper()
	step := min(512<<10, max(limit/2, 1))
	var sizes []int64
	for left := fileSize(tb, archive, limit); ; {
		var size int64
		for size < limit && left > 0 {
			n := min(step-int64(len(sizes)*131)%(step/3+1), left)
			size, left = size+n, left-n
		}
		if sizes = append(sizes, size); size < limit {
			return cut(tb, archive, sizes)
		}
	}
}

// Cut cuts an archive into chunks of size bytes, as split(1) does, and removes the archive. The
// last chunk may be smaller. For chunks as d8 makes them, see [Split].
func Cut(tb TB, archive string, size int64) (chunks []string) {
	tb.Helper()
	var sizes []int64
	for left := fileSize(tb, archive, size); left > 0 || sizes == nil; left -= size {
		sizes = append(sizes, min(size, left))
	}
	return cut(tb, archive, sizes)
}

// CutAt cuts an archive at the given offsets, and removes the archive. The offsets must be
// ascending. Two equal offsets make an empty chunk.
func CutAt(tb TB, archive string, offsets ...int64) (chunks []string) {
	tb.Helper()
	var sizes []int64
	last := int64(0)
	for _, at := range append(offsets, fileSize(tb, archive, 1)) {
		sizes = append(sizes, at-last)
		last = at
	}
	return cut(tb, archive, sizes)
}

// fileSize returns the size of an archive in bytes. It ends the test if limit, the size of a chunk,
// is not positive.
func fileSize(tb TB, archive string, limit int64) int64 {
	tb.Helper()
	if limit <= 0 {
		tb.Fatalf("%s: cannot cut it into chunks of %d bytes", archive, limit)
	}
	info, err := os.Stat(archive)
	Try(tb, err)
	return info.Size()
}

// cut cuts an archive into chunks of the given sizes, and removes it.
func cut(tb TB, archive string, sizes []int64) (chunks []string) {
	tb.Helper()
	f, err := os.Open(archive)
	Try(tb, err)
	defer f.Close()
	dir, base := filepath.Split(archive)
	temp := func(n int) string { return filepath.Join(dir, fmt.Sprintf(".%s.%04d.tmp", base, n)) }
	var off int64
	for i, size := range sizes {
		_, err := copyFile(temp(i), io.NewSectionReader(f, off, size))
		Try(tb, err)
		off += size
		chunks = append(chunks, fmt.Sprintf("%s.%04d.chunk", archive, i))
	}
	Try(tb, os.Remove(archive)) // removed first, because an archive takes precedence over its chunks
	for i, chunk := range chunks {
		Try(tb, os.Rename(temp(i), chunk))
	}
	return chunks
}
