package volume

import (
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// StampOf identifies what was written into the files that a list lies in, by their
// sizes, modification times and inodes. It is not another one for a change time alone,
// which a new link moves too. Errors are those of opening them.
func StampOf(where extent.List) (string, error) {
	var all strings.Builder
	for _, e := range where {
		file, err := e.File.Open()
		if err != nil {
			return "", err
		}
		info, err := file.Stat()
		file.Close()
		if err != nil {
			return "", err
		}
		all.WriteString(writtenOf(info) + ";")
	}
	return all.String(), nil
}
