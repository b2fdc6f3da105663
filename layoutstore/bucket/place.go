package bucket

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"unicode/utf8"
)

const scheme = "s3://"

// IsPlace reports whether the name of a source or store begins with s3://.
func IsPlace(name string) bool { return strings.HasPrefix(name, scheme) }

// Place is a bucket, or the objects in it whose keys begin with Prefix. Prefix is empty or ends in a slash.
type Place struct {
	Bucket string
	Prefix string
}

// ParsePlace parses s3://bucket/prefix. It ignores slashes at the end.
func ParsePlace(name string) (Place, error) {
	rest, ok := strings.CutPrefix(name, scheme)
	if !ok {
		return Place{}, fmt.Errorf("%s: not of the form s3://bucket/prefix", name)
	}
	b, prefix, _ := strings.Cut(rest, "/")
	if !isBucketName(b) {
		return Place{}, fmt.Errorf("%s: illegal bucket name", name)
	}
	if prefix = strings.TrimRight(prefix, "/"); prefix != "" {
		if err := checkPrefix(prefix); err != nil {
			return Place{}, fmt.Errorf("%s: %w", name, err)
		}
		prefix += "/"
	}
	return Place{Bucket: b, Prefix: prefix}, nil
}

// Key returns s3://bucket/prefix/key for use in messages.
func (p Place) Key(key string) string { return scheme + p.Bucket + "/" + p.Prefix + key }

// isBucketName reports whether name is a legal bucket name
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html).
func isBucketName(name string) bool {
	if len(name) < 3 || len(name) > 63 || strings.Contains(name, "..") {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	ends := string(name[0]) + string(name[len(name)-1])
	return !strings.ContainsAny(ends, "-.") && net.ParseIP(name) == nil
}

func checkPrefix(prefix string) error {
	if !utf8.ValidString(prefix) {
		return errors.New("the prefix is not UTF-8")
	}
	for part := range strings.SplitSeq(prefix, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("the prefix contains the path element %q", part)
		}
	}
	return nil
}

// String returns the place as s3://bucket/prefix, without a slash at the end.
func (p Place) String() string {
	return strings.TrimSuffix(scheme+p.Bucket+"/"+p.Prefix, "/")
}
