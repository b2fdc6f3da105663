package layouttest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Split splits an archive into chunks beside it, as d8 mirror pull does, and removes the archive. A
// chunk ends with the write that reaches limit bytes, and writes have unequal sizes. So all chunks
// but the last have at least limit bytes, few have the same size, and the last has fewer and may be
// empty. (deckhouse-cli, docs/mirror-bundle-layout.md §4.3 and
// internal/mirror/chunked/chunk_writer.go. The writes of d8 have up to 512 KiB; for a small limit
// they are smaller here.)
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

// Cut cuts an archive into chunks of size bytes, except the last one, as split(1) does, and removes
// the archive. For chunks of d8 see [Split].
func Cut(tb TB, archive string, size int64) (chunks []string) {
	tb.Helper()
	var sizes []int64
	for left := fileSize(tb, archive, size); left > 0 || sizes == nil; left -= size {
		sizes = append(sizes, min(size, left))
	}
	return cut(tb, archive, sizes)
}

// CutAt cuts an archive at ascending offsets, and removes it. Two equal offsets make an
// empty chunk.
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

// fileSize returns the size of an archive to be cut into chunks of about limit bytes.
func fileSize(tb TB, archive string, limit int64) int64 {
	tb.Helper()
	if limit <= 0 {
		tb.Fatalf("%s: chunks of %d bytes", archive, limit)
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
	Try(tb, os.Remove(archive)) // first: the archive would take precedence over its chunks
	for i, chunk := range chunks {
		Try(tb, os.Rename(temp(i), chunk))
	}
	return chunks
}
