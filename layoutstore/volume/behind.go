package volume

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// maxPadding is how many zeros behind an archive's end are read. GNU tar pads to its
// blocking factor, 10 KiB unless it was told otherwise (GNU tar manual, "The Blocking
// Factor of an Archive").
const maxPadding = 64 << 20

// behindEnd reports what is behind the archive's end at byte end, if it is not all
// zeros: bytes, chunks that an earlier and longer set left, or a second archive, which
// is lost. It reads to the first byte that is not zero, and no further. Errors: the
// context's; those of opening the files.
func (s *scan) behindEnd(ctx context.Context, end int64) error {
	found, read, err := s.firstNonZero(ctx, end)
	if err != nil {
		return err
	}
	if found < 0 {
		if read >= maxPadding {
			s.behind = append(s.behind, harmless("%s behind the archive's end, at byte %d: the first %d are zeros, the rest is not read", bytesOf(s.size-end), end, maxPadding))
		}
		return nil
	}
	second, err := s.isHeader(found)
	if err != nil {
		return err
	}
	partEnd, begins, chunks, chunkBytes := s.partsBehind(end, found)
	switch {
	// A chunk that an earlier set left may begin with a header by chance.
	case second && !begins:
		f := harmless("a second archive begins at byte %d, behind the end of this one, and is not read: %s. %s", found, bytesOf(s.size-found), s.splitAt(found))
		f.Harmless = false
		s.behind = append(s.behind, f)
		return nil
	case found < partEnd:
		s.behind = append(s.behind, harmless("%s behind the archive's end, at byte %d: not zeros, and not read", bytesOf(partEnd-found), found))
	}
	if len(chunks) > 0 {
		s.behind = append(s.behind, harmless("behind the archive's end, and not read: %s, %s. If an earlier and longer set left them, remove them", listed(chunks), bytesOf(chunkBytes)))
	}
	return nil
}

// splitAt says how to take two archives apart that were joined.
func (s *scan) splitAt(at int64) string {
	file, ok := s.window.list[0].File.(*archiveFile)
	if !ok || len(s.window.list) > 1 {
		return "Archives cannot be joined with cat: join the chunks to one file, and split that at this byte"
	}
	name := quoted(file.shown)
	return fmt.Sprintf("Archives cannot be joined with cat: split them with tail -c +%d %s > SECOND.tar && truncate -s %d %s", at+1, name, at, name)
}

func bytesOf(n int64) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

func harmless(format string, args ...any) problem.Problem {
	return problem.Problem{Kind: problem.Limited, Harmless: true, Reason: fmt.Sprintf(format, args...)}
}

// firstNonZero is where the first byte from from on is that is not zero, or negative,
// and how many bytes were read.
func (s *scan) firstNonZero(ctx context.Context, from int64) (at, read int64, err error) {
	buf := make([]byte, windowSize)
	var off int64
	for _, e := range s.window.list {
		start := max(off, from)
		off += e.Len
		if start >= off {
			continue
		}
		_, _ = s.window.Seek(start, io.SeekStart) // not before the beginning
		for pos := start; pos < off; {
			if err := ctx.Err(); err != nil {
				return 0, 0, err
			}
			if read >= maxPadding {
				return -1, read, nil
			}
			n, err := s.window.Read(buf[:min(int64(len(buf)), off-pos)])
			if s.window.err != nil {
				return 0, 0, s.window.err
			}
			if i := firstOf(buf[:n]); i >= 0 {
				return pos + int64(i), read, nil
			}
			if err != nil {
				return -1, read, nil
			}
			pos, read = pos+int64(n), read+int64(n)
		}
	}
	return -1, read, nil
}

// firstOf is the index of the first byte that is not zero, or negative.
func firstOf(b []byte) int {
	rest := bytes.TrimLeft(b, "\x00")
	if len(rest) == 0 {
		return -1
	}
	return len(b) - len(rest)
}

// isHeader says whether a tar header is at byte at: 512 bytes with their own checksum.
// Some old writers add bytes as signed numbers (POSIX.1-1988, 10.1.1; GNU tar manual, "Basic Tar Format").
func (s *scan) isHeader(at int64) (bool, error) {
	var block [512]byte
	_, _ = s.window.Seek(at, io.SeekStart)
	_, err := io.ReadFull(s.window, block[:])
	if s.window.err != nil {
		return false, s.window.err
	}
	if err != nil {
		return false, nil // shorter than a header
	}
	want, err := strconv.ParseInt(strings.Trim(string(block[148:156]), " \x00"), 8, 64)
	copy(block[148:156], "        ")
	var plain, signed int64
	for _, b := range block {
		plain, signed = plain+int64(b), signed+int64(int8(b))
	}
	return err == nil && (want == plain || want == signed), nil
}

// partsBehind is where the file ends in which the archive does, whether a chunk wholly
// behind it begins with the byte found, and the names and the bytes of the chunks wholly
// behind it, from the one on that holds that byte.
func (s *scan) partsBehind(end, found int64) (partEnd int64, begins bool, chunks []string, bytes int64) {
	var off int64
	for _, e := range s.window.list {
		from := off
		off += e.Len
		switch f, ok := e.File.(*archiveFile); {
		case from < end:
			partEnd = off
		case ok && off > max(from, found):
			begins = begins || from == found
			chunks, bytes = append(chunks, f.name), bytes+e.Len
		}
	}
	return partEnd, begins, chunks, bytes
}

// listed are names for a message, of many the first and the last ones.
func listed(names []string) string {
	const most = 20
	if n := len(names) - most; n > 0 {
		return fmt.Sprintf("%s and %d more to %s", strings.Join(names[:most-1], ", "), n, names[len(names)-1])
	}
	return strings.Join(names, ", ")
}
