package volume

import (
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// StampOf identifies the state of the files that a list lies in: it is another one
// when any of them was written or replaced since. Errors are those of opening them.
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
		all.WriteString(stampOf(info) + ";")
	}
	return all.String(), nil
}
