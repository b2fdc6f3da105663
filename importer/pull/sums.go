package pull

import (
	"io"
	"os"
	"path/filepath"
)

// sums makes the checksum files of an archive that stays, where they are wanted and
// not there.
func (r *run) sums(now []file) error {
	if r.NewSum == nil {
		return nil
	}
	for _, f := range now {
		name := sumName(f.Name)
		if _, err := os.Stat(filepath.Join(r.Dir, name)); err == nil {
			continue
		}
		in, err := os.Open(filepath.Join(r.Dir, f.Name))
		if err != nil {
			return err
		}
		sum := r.NewSum()
		if _, err := io.Copy(sum, in); err != nil {
			return joinClose(err, in)
		}
		if err := in.Close(); err != nil {
			return err
		}
		if err := writeSum(filepath.Join(r.work.archives(), name), sum); err != nil {
			return err
		}
		r.publication.Place = append(r.publication.Place, name)
		r.written = append(r.written, name)
	}
	return nil
}

// haveSums says whether the checksum files of an archive that waits for publication
// are there, if they are wanted.
func (r *run) haveSums(now []file) bool {
	for _, f := range now {
		if _, err := os.Stat(filepath.Join(r.work.archives(), sumName(f.Name))); r.NewSum != nil && err != nil {
			return false
		}
	}
	return true
}
