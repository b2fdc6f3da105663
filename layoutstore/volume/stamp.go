package volume

import (
	"context"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// StampOf returns a text that identifies the content of the files in a list. For files, it contains sizes,
// modification times and inodes. It ignores the change time, which also changes when a hard link is added.
// For an object, it contains the state in the last list of the bucket, because an object is only ever read in
// that state. A blob of a store has no such state, so StampOf asks the bucket for its state. If ctx ends, StampOf
// returns its cause. Other errors come from opening the files and from the bucket.
func StampOf(ctx context.Context, where extent.List) (string, error) {
	var all strings.Builder
	for _, e := range where {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if o, ok := e.File.(*object); ok {
			stamp, err := o.stamp(ctx)
			if err != nil {
				return "", err
			}
			all.WriteString(stamp + ";")
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
