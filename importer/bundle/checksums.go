package bundle

import (
	"encoding/hex"
	"hash"
	"path/filepath"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

const sumSuffix = ".gostsum"

const maxSum = 1 << 10

// SumName returns the name of the checksum file of an archive or a chunk.
func SumName(name string) string { return name + sumSuffix }

// ArchiveOf returns the name of the archive to which a file belongs. The file can be the archive
// itself, a chunk or a checksum file; for any other file, ok is false.
func ArchiveOf(name string) (archive string, ok bool) {
	return volume.IsArchive(strings.TrimSuffix(name, sumSuffix))
}

// sumText returns the content of a checksum file: lower-case hex without a newline.
func sumText(sum hash.Hash) string { return hex.EncodeToString(sum.Sum(nil)) }

// HasSums reports whether every file of the archive has a correct checksum file beside it. Call
// [Present.IsSame] first.
func (p *Present) HasSums() bool {
	for i := range p.sums {
		if !p.hasSum(i) {
			return false
		}
	}
	return true
}

func (p *Present) hasSum(i int) bool {
	text, err := plainfile.Read(filepath.Join(p.dir, SumName(p.files[i].Name)), maxSum)
	return err == nil && string(text) == p.sums[i]
}

// WriteSums writes to dir the checksum files that are missing or wrong, and returns their names.
// Call [Present.IsSame] first.
func (p *Present) WriteSums(dir string) (names []string, err error) {
	for i, sum := range p.sums {
		if p.hasSum(i) {
			continue
		}
		name := SumName(p.files[i].Name)
		if err := durable.WriteInPlace(filepath.Join(dir, name), []byte(sum), 0o666); err != nil {
			return names, err
		}
		names = append(names, name)
	}
	return names, nil
}
