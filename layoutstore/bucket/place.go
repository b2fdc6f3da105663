package bucket

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/minio/minio-go/v7/pkg/s3utils"
)

const scheme = "s3://"

// IsPlace reports whether a source or store is in a bucket.
func IsPlace(name string) bool { return strings.HasPrefix(name, scheme) }

// Place is a bucket and the prefix of the keys in it. The prefix is empty or ends in a slash.
type Place struct {
	Bucket string
	Prefix string
}

// ParsePlace reads s3://bucket/prefix. Slashes at the end mean nothing.
func ParsePlace(name string) (Place, error) {
	rest, ok := strings.CutPrefix(name, scheme)
	if !ok {
		return Place{}, fmt.Errorf("%s: not of the form s3://bucket/prefix", name)
	}
	b, prefix, _ := strings.Cut(rest, "/")
	if err := s3utils.CheckValidBucketName(b); err != nil {
		return Place{}, fmt.Errorf("%s: illegal name of a bucket: %w", name, err)
	}
	if prefix = strings.TrimRight(prefix, "/"); prefix != "" {
		if err := checkPrefix(prefix); err != nil {
			return Place{}, fmt.Errorf("%s: %w", name, err)
		}
		prefix += "/"
	}
	return Place{Bucket: b, Prefix: prefix}, nil
}

func checkPrefix(prefix string) error {
	if !utf8.ValidString(prefix) {
		return errors.New("the prefix is not UTF-8")
	}
	for part := range strings.SplitSeq(prefix, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("the prefix has the element %q", part)
		}
	}
	return nil
}

// String returns the place as s3://bucket/prefix, without a slash at its end.
func (p Place) String() string {
	return strings.TrimSuffix(scheme+p.Bucket+"/"+p.Prefix, "/")
}
