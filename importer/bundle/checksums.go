package bundle

import (
	"encoding/hex"
	"hash"
	"path/filepath"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

const sumSuffix = ".gostsum"

// maxSum is the size in bytes of the longest checksum file that is read.
const maxSum = 1 << 10

// sumName is the name of the checksum file beside a file.
func sumName(name string) string { return name + sumSuffix }

// withoutSum is the name of the file that a checksum file belongs to; that of another file
// is its own.
func withoutSum(name string) string { return strings.TrimSuffix(name, sumSuffix) }

// sumText is what a checksum file holds: lower-case hex and nothing else.
func sumText(sum hash.Hash) string { return hex.EncodeToString(sum.Sum(nil)) }

func writeSum(name string, sum hash.Hash) error {
	return durable.WriteInPlace(name, []byte(sumText(sum)), 0o666)
}

// HasSums reports whether the checksum files of an archive that [Present.IsSame] has read
// are beside it, and right.
func (p *Present) HasSums() bool {
	for i := range p.sums {
		if !p.hasSum(i) {
			return false
		}
	}
	return true
}

func (p *Present) hasSum(i int) bool {
	text, err := plainfile.Read(filepath.Join(p.dir, sumName(p.files[i].Name)), maxSum)
	return err == nil && string(text) == p.sums[i]
}

// WriteSums writes to a directory those checksum files of an archive that [Present.IsSame]
// has read that are missing beside it, or wrong. It returns their names.
func (p *Present) WriteSums(dir string) (names []string, err error) {
	for i, sum := range p.sums {
		if p.hasSum(i) {
			continue
		}
		name := sumName(p.files[i].Name)
		if err := durable.WriteInPlace(filepath.Join(dir, name), []byte(sum), 0o666); err != nil {
			return names, err
		}
		names = append(names, name)
	}
	return names, nil
}
