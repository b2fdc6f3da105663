package journal

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// FormatBlobs returns the list of a layout's blobs. It contains one line per blob, sorted by digest:
// the digest, the size in bytes, and the epoch unless it is 0. FormatBlobs sorts blobs in place.
func FormatBlobs(blobs []StoredBlob) []byte {
	slices.SortFunc(blobs, func(a, b StoredBlob) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	var list bytes.Buffer
	for _, b := range blobs {
		list.WriteString(b.Digest.String())
		fmt.Fprintf(&list, " %d", b.Size)
		if b.Epoch > 0 {
			fmt.Fprintf(&list, " %d", b.Epoch)
		}
		list.WriteByte('\n')
	}
	return list.Bytes()
}

// ParseBlobs calls the function each for every entry in a list from [FormatBlobs]. It fails if the
// function fails or a line is malformed.
func ParseBlobs(list []byte, each func(StoredBlob) error) error {
	number := 0
	for line := range strings.Lines(string(list)) {
		number++
		b, err := parseBlob(strings.Fields(line))
		if err != nil {
			return fmt.Errorf("line %d of the list of blobs: %w", number, err)
		}
		if err := each(b); err != nil {
			return err
		}
	}
	return nil
}

func parseBlob(fields []string) (StoredBlob, error) {
	if len(fields) < 2 || len(fields) > 3 {
		return StoredBlob{}, fmt.Errorf("%d fields", len(fields))
	}
	d, err := digest.Parse(fields[0])
	if err != nil {
		return StoredBlob{}, err
	}
	size, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil || size < 0 {
		return StoredBlob{}, fmt.Errorf("malformed size %q", fields[1])
	}
	b := StoredBlob{Digest: d, Size: size}
	if len(fields) == 3 {
		epoch, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			return StoredBlob{}, fmt.Errorf("malformed epoch %q", fields[2])
		}
		b.Epoch = uint32(epoch)
	}
	return b, nil
}

// ParseBlobKey returns the digest and the epoch in the key of a blob; see [BlobKey]. ok is false if
// the key is not that of a blob.
func ParseBlobKey(key string) (d digest.Digest, epoch uint32, ok bool) {
	name, suffix, hasEpoch := strings.Cut(key, ".")
	if hasEpoch {
		n, err := strconv.ParseUint(suffix, 10, 32)
		if err != nil || n == 0 || suffix[0] == '0' || suffix[0] == '+' {
			return "", 0, false
		}
		epoch = uint32(n)
	}
	layout, d, ok := names.ParseBlobPath(name)
	return d, epoch, ok && layout == "."
}
