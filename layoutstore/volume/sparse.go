package volume

import (
	"archive/tar"
	"io"
	"strconv"
	"strings"
)

// sparseAdvice explains why a sparse entry is not served, and what to do.
const sparseAdvice = "a sparse file, stored without its holes: pack it again with GNU tar without --sparse, or with bsdtar --no-read-sparse"

// isSparse reports whether an entry is stored with a map of its holes. The map may be empty.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// readSparse reads the map of a sparse entry whose headers begin at offset from. If the map has no
// holes, readSparse changes h into the header of a plain file. next is the offset of the next
// header, or negative if that is unknown.
func (s *scan) readSparse(h *tar.Header, e tarEntry, from int64) (next int64) {
	size := e.off - from
	if s.unsure || size <= 0 || size > maxSparseHeader {
		return -1
	}
	raw := make([]byte, size)
	_, _ = s.window.Seek(from, io.SeekStart)
	_, err := io.ReadFull(s.window, raw)
	_, _ = s.window.Seek(e.off, io.SeekStart) // go back to the content of the entry
	if err != nil {
		return -1
	}
	stored, ok := makePlain(h, raw)
	if !ok {
		return -1
	}
	return padToBlock(e.off + stored)
}

// maxSparseHeader is the maximum size in bytes of all headers of a sparse entry. archive/tar allows less.
const maxSparseHeader = 8 << 20

// makePlain changes h into the header of a plain file if its map has no holes. Then the stored
// bytes are the content of the file. raw contains all headers of the entry and the map, up to the
// first byte of data. stored is the length of the data in bytes, which is unknown if ok is false.
//
// The map is in the header (old GNU form), in PAX records (0.0 and 0.1), or before the data (1.0).
// See the GNU tar manual, "Storing Sparse Files".
func makePlain(h *tar.Header, raw []byte) (stored int64, ok bool) {
	at, stored := lastHeader(raw)
	if at < 0 {
		return 0, false
	}
	if size, given := h.PAXRecords["size"]; given {
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil {
			return 0, false
		}
		stored = n
	}
	numbers, known := sparseMap(h, raw[at:])
	if h.Typeflag != tar.TypeGNUSparse && h.PAXRecords["GNU.sparse.major"] == "1" {
		stored -= int64(len(raw) - at - 512) // the map is stored together with the data
	}
	if stored < 0 {
		return 0, false
	}
	if known && stored == h.Size && coversAll(numbers, h.Size) {
		h.Typeflag, h.PAXRecords = tar.TypeReg, nil
	}
	return stored, true
}

// lastHeader finds the main header of an entry, after the headers that extend it. It returns the
// offset of the main header and its size field. The offset is negative if there is no main header.
func lastHeader(raw []byte) (at int, size int64) {
	for at+512 <= len(raw) {
		size, ok := number(raw[at+124 : at+136])
		if !ok {
			return -1, 0
		}
		switch raw[at+156] {
		case tar.TypeXHeader, tar.TypeGNULongName, tar.TypeGNULongLink:
			if size > int64(len(raw)) {
				return -1, 0
			}
			at += 512 + int(padToBlock(size))
		default:
			return at, size
		}
	}
	return -1, 0
}

// number parses a numeric field in a header. It contains octal digits, or a binary number if the
// first bit is set (GNU tar manual, "Basic Tar Format").
func number(field []byte) (int64, bool) {
	if field[0]&0x80 == 0 {
		text := strings.Trim(string(field), " \x00")
		if text == "" {
			return 0, true
		}
		n, err := strconv.ParseInt(text, 8, 64)
		return n, err == nil && n >= 0
	}
	n := int64(field[0] & 0x7f)
	for _, b := range field[1:] {
		if n >= 1<<55 {
			return 0, false
		}
		n = n<<8 | int64(b)
	}
	return n, field[0]&0x40 == 0
}

// sparseMap reads the map of a sparse entry. It returns the offset and the length of each piece of
// data in turn. raw begins with the main header of the entry.
func sparseMap(h *tar.Header, raw []byte) (numbers []int64, ok bool) {
	version := h.PAXRecords["GNU.sparse.major"] + "." + h.PAXRecords["GNU.sparse.minor"]
	switch {
	case h.Typeflag == tar.TypeGNUSparse:
		return oldMap(raw)
	case version == "1.0":
		text := strings.Split(string(raw[512:]), "\n")
		count, err := strconv.Atoi(text[0])
		if err != nil || count < 0 || count > (len(text)-1)/2 {
			return nil, false
		}
		return parseAll(text[1 : 1+2*count])
	case version == "0.0", version == "0.1", version == ".":
		if h.PAXRecords["GNU.sparse.map"] == "" {
			return nil, true
		}
		return parseAll(strings.Split(h.PAXRecords["GNU.sparse.map"], ","))
	}
	return nil, false // archive/tar does not support other versions either
}

// oldMap reads the map in an old GNU sparse header and in the blocks that extend it.
func oldMap(raw []byte) (numbers []int64, ok bool) {
	const size = 12
	table, more := raw[386:482], raw[482]
	for {
		for ; len(table) >= 2*size; table = table[2*size:] {
			if table[0] == 0 {
				break
			}
			off, ok1 := number(table[:size])
			n, ok2 := number(table[size : 2*size])
			if !ok1 || !ok2 {
				return nil, false
			}
			numbers = append(numbers, off, n)
		}
		if more == 0 {
			return numbers, true
		}
		if raw = raw[512:]; len(raw) < 512 {
			return nil, false
		}
		table, more = raw[:504], raw[504]
	}
}

func parseAll(text []string) ([]int64, bool) {
	numbers := make([]int64, len(text))
	for i, t := range text {
		n, err := strconv.ParseInt(t, 10, 64)
		if err != nil {
			return nil, false
		}
		numbers[i] = n
	}
	return numbers, len(numbers)%2 == 0
}

// coversAll reports whether the pieces in a map cover a file of size bytes without a hole.
func coversAll(numbers []int64, size int64) bool {
	var end int64
	for i := 0; i+1 < len(numbers); i += 2 {
		off, n := numbers[i], numbers[i+1]
		if n == 0 {
			continue
		}
		if off != end || n < 0 || n > size-end {
			return false
		}
		end += n
	}
	return end == size
}
