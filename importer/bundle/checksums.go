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

// maxSum limits the size of a checksum file, in bytes.
const maxSum = 1 << 10

// sumName returns the name of the checksum file of a file.
func sumName(name string) string { return name + sumSuffix }

// withoutSum returns the name of the file that a checksum file belongs to. Other names are
// returned unchanged.
func withoutSum(name string) string { return strings.TrimSuffix(name, sumSuffix) }

// sumText returns the content of a checksum file: lower-case hex and nothing else.
func sumText(sum hash.Hash) string { return hex.EncodeToString(sum.Sum(nil)) }

func writeSum(name string, sum hash.Hash) error {
	return durable.WriteInPlace(name, []byte(sumText(sum)), 0o666)
}

// HasSums reports whether the archive has correct checksum files beside it. Call it after
// [Present.IsSame].
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

// WriteSums writes the checksum files of the archive that are missing or wrong to a directory,
// and returns their names. Call it after [Present.IsSame].
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
