package layouttest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Split splits an archive into chunks beside it, as d8 mirror pull does, and removes
// it. A chunk ends with the write that reaches limit bytes, and writes have unequal
// sizes. So all chunks but the last have limit bytes or more, few have the same size,
// and the last has fewer and may be empty. (deckhouse-cli, docs/mirror-bundle-layout.md
// §4.3 and internal/mirror/chunked/chunk_writer.go. The writes of d8 have up to 512
// KiB; here they are smaller if limit is.)
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

// Cut cuts an archive into chunks of size bytes, except the last one, and removes it.
// Tools such as split do so; for d8 see [Split].
func Cut(tb TB, archive string, size int64) (chunks []string) {
	tb.Helper()
	var sizes []int64
	for left := fileSize(tb, archive, size); left > 0 || sizes == nil; left -= size {
		sizes = append(sizes, min(size, left))
	}
	return cut(tb, archive, sizes)
}

// CutAt cuts an archive at places, in ascending order, and removes it. Two equal ones
// make an empty chunk.
func CutAt(tb TB, archive string, places ...int64) (chunks []string) {
	tb.Helper()
	var sizes []int64
	last := int64(0)
	for _, at := range append(places, fileSize(tb, archive, 1)) {
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
	if err != nil {
		tb.Fatalf("%s: %v", archive, err)
	}
	return info.Size()
}

// cut cuts an archive into chunks of the given sizes.
func cut(tb TB, archive string, sizes []int64) (chunks []string) {
	tb.Helper()
	if err := tryCut(archive, sizes, &chunks); err != nil {
		tb.Fatalf("%s: %v", archive, err)
	}
	return chunks
}

func tryCut(archive string, sizes []int64, chunks *[]string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	dir, base := filepath.Split(archive)
	temp := func(n int) string { return filepath.Join(dir, fmt.Sprintf(".%s.%04d.tmp", base, n)) }
	var off int64
	for i, size := range sizes {
		if _, err := copyFile(temp(i), io.NewSectionReader(f, off, size)); err != nil {
			return err
		}
		off += size
		*chunks = append(*chunks, fmt.Sprintf("%s.%04d.chunk", archive, i))
	}
	// The file would take precedence over its chunks.
	if err := os.Remove(archive); err != nil {
		return err
	}
	for i, chunk := range *chunks {
		if err := os.Rename(temp(i), chunk); err != nil {
			return err
		}
	}
	return nil
}
