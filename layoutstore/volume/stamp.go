package volume

import (
	"context"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// StampOf identifies the content of the files of a list by their sizes, modification times and
// inodes. It ignores the change time, which a new link changes, too. It identifies an object by
// its state in the last list of the bucket: an object is only ever read in that state. Errors:
// the cause of ctx; those of opening the files.
func StampOf(ctx context.Context, where extent.List) (string, error) {
	var all strings.Builder
	for _, e := range where {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if o, ok := e.File.(*object); ok {
			all.WriteString(stampOfObject(o.Object) + ";")
			continue
		}
		file, err := e.File.Open(ctx)
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
