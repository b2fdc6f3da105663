package volume

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// maxPadding is how many bytes of zeros are read after the end of an archive. GNU tar pads an archive to a
// multiple of its blocking factor, by default 10 KiB (GNU tar manual, "The Blocking Factor of an Archive").
const maxPadding = 64 << 20

// checkTrailing reports data after the end of the archive, which is at offset end. Such data may be
// stray bytes, chunks left over from a longer set, or a second archive, which is not served. Zeros
// are padding. checkTrailing stops reading at the first byte that is not zero. It fails if ctx ends
// or the files cannot be read.
func (s *scan) checkTrailing(ctx context.Context, end int64) error {
	found, zeros, err := s.firstNonZero(ctx, end)
	if err != nil {
		return err
	}
	if found < 0 {
		if zeros >= maxPadding {
			s.trailing = append(s.trailing, harmlessProblem("%s after the archive's end, at byte %d: the first %d bytes are zeros, and the rest is not read", formatBytes(s.size-end), end, maxPadding))
		}
		return nil
	}
	second, err := s.isHeader(found)
	if err != nil {
		return err
	}
	partEnd, begins, chunks, chunkBytes := s.trailingChunks(end, found)
	switch {
	// A chunk that is left over may begin with a header by chance.
	case second && !begins:
		f := harmlessProblem("a second archive begins at byte %d, after the end of this one, and is not read: %s. %s", found, formatBytes(s.size-found), s.splitAdvice(found))
		f.Harmless = false
		s.trailing = append(s.trailing, f)
		return nil
	case found < partEnd:
		s.trailing = append(s.trailing, harmlessProblem("%s after the archive's end, at byte %d: not zeros, and not read", formatBytes(partEnd-found), found))
	}
	if len(chunks) > 0 {
		s.trailing = append(s.trailing, harmlessProblem("after the archive's end, and not read: %s, %s. If these chunks are left over from a longer set, remove them", formatNames(chunks), formatBytes(chunkBytes)))
	}
	return nil
}

// splitAdvice returns advice on how to separate two archives. The second one begins at offset at.
func (s *scan) splitAdvice(at int64) string {
	if len(s.window.list) > 1 {
		return "Archives cannot be joined with cat: join the chunks to one file, and split that at this byte"
	}
	file, ok := s.window.list[0].File.(*archiveFile)
	if !ok {
		return "Archives cannot be joined with cat: upload them one by one"
	}
	name := shellQuote(file.shown)
	return fmt.Sprintf("Archives cannot be joined with cat: split them with tail -c +%d %s > SECOND.tar && truncate -s %d %s", at+1, name, at, name)
}

func formatBytes(n int64) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

func harmlessProblem(format string, args ...any) problem.Problem {
	return problem.Problem{Kind: problem.Limited, Harmless: true, Reason: fmt.Sprintf(format, args...)}
}

// firstNonZero returns the offset of the first nonzero byte at or after from, and the number of
// zeros before it. If the next maxPadding bytes are all zeros, the offset is negative.
func (s *scan) firstNonZero(ctx context.Context, from int64) (at, zeros int64, err error) {
	at = -1
	err = s.read(ctx, from, min(s.size-from, maxPadding), func(b []byte) bool {
		i := indexNonZero(b)
		if i < 0 {
			zeros += int64(len(b))
			return true
		}
		zeros += int64(i)
		at = from + zeros
		return false
	})
	return at, zeros, err
}

// indexNonZero returns the index of the first nonzero byte. It is negative if there is none.
func indexNonZero(b []byte) int {
	rest := bytes.TrimLeft(b, "\x00")
	if len(rest) == 0 {
		return -1
	}
	return len(b) - len(rest)
}

// isHeader reports whether a tar header is at offset at. A header has 512 bytes with a valid checksum. Some
// old programs add the bytes as signed numbers (POSIX.1-1988, 10.1.1; GNU tar manual, "Basic Tar Format").
func (s *scan) isHeader(at int64) (bool, error) {
	var block [512]byte
	_, _ = s.window.Seek(at, io.SeekStart)
	_, err := io.ReadFull(s.window, block[:])
	if s.window.err != nil {
		return false, s.window.err
	}
	if err != nil {
		return false, nil // the rest is shorter than a header
	}
	want, err := strconv.ParseInt(strings.Trim(string(block[148:156]), " \x00"), 8, 64)
	copy(block[148:156], "        ")
	var plain, signed int64
	for _, b := range block {
		plain, signed = plain+int64(b), signed+int64(int8(b))
	}
	return err == nil && (want == plain || want == signed), nil
}

// trailingChunks finds the chunks after the end of the archive. partEnd is the offset of the end of
// the chunk in which the archive ends. chunks and bytes are the names and the total size of later
// chunks, except chunks before offset found. begins is set if a chunk begins at found.
func (s *scan) trailingChunks(end, found int64) (partEnd int64, begins bool, chunks []string, bytes int64) {
	var off int64
	for _, e := range s.window.list {
		from := off
		off += e.Len
		switch {
		case from < end:
			partEnd = off
		case off > max(from, found):
			begins = begins || from == found
			chunks, bytes = append(chunks, filepath.Base(e.File.String())), bytes+e.Len
		}
	}
	return partEnd, begins, chunks, bytes
}

// formatNames lists names in a message. If there are more than 20, it lists only the first 19 and the last.
func formatNames(names []string) string {
	const most = 20
	if n := len(names) - most; n > 0 {
		return fmt.Sprintf("%s, %d more and %s", strings.Join(names[:most-1], ", "), n, names[len(names)-1])
	}
	return strings.Join(names, ", ")
}
