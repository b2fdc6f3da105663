package pull

import (
	"encoding/hex"
	"hash"
	"path/filepath"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// sumText is what a checksum file holds: lower-case hex and nothing else.
func sumText(sum hash.Hash) string { return hex.EncodeToString(sum.Sum(nil)) }

func writeSum(name string, sum hash.Hash) error { return writeFile(name, []byte(sumText(sum))) }

// addSums makes the checksum files of an archive that stays, where they are wanted and
// not there, or not right.
func (r *run) addSums(s *standing) error {
	for i, sum := range s.sums {
		if s.hasSum(i) {
			continue
		}
		name := sumName(s.files[i].Name)
		if err := writeFile(filepath.Join(r.work.archives(), name), []byte(sum)); err != nil {
			return err
		}
		r.publication.Place = append(r.publication.Place, name)
		r.written = append(r.written, name)
	}
	return nil
}

// hasSums says whether the checksum files of the archive lie beside it, and are right.
const maxSum = 1 << 10 // bytes of a file with a checksum

func (s *standing) hasSums() bool {
	for i := range s.sums {
		if !s.hasSum(i) {
			return false
		}
	}
	return true
}

func (s *standing) hasSum(i int) bool {
	text, err := plainfile.Read(filepath.Join(s.dir, sumName(s.files[i].Name)), maxSum)
	return err == nil && string(text) == s.sums[i]
}
