package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"path/filepath"
	"slices"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/streebog"
)

// State is the result of comparing a file with a checksum.
type State string

// Results of comparing a file with a checksum.
const (
	Same      State = "same"
	Different State = "different" // the file has a different checksum

	Illegible State = "illegible" // the checksum file has no valid checksum

	Absent State = "absent" // the file to compare is missing; this is no failure
)

// Checksum is a checksum that is stored beside the archives, with the result of comparing it.
type Checksum struct {
	File string `json:"file"` // file that contains the checksum

	Of string `json:"of"` // file to compare; empty if unknown

	Algorithm string `json:"algorithm"` // "sha256", or "gost" for GOST R 34.11-2012 with 256 bits
	State     State  `json:"state"`
	Reason    string `json:"reason"`

	want   []byte
	listed bool // whether the checksum is from the inventory

	archive string // path of the archive to which the file belongs; only for checksums from the inventory
}

func (c *Checksum) hash() hash.Hash {
	if c.Algorithm == gost {
		return streebog.New()
	}
	return sha256.New()
}

// compare reads the file, compares its checksum, and sets the state. Errors are the context's, and those for
// which layoutstore.IsExhausted is true.
func (c *Checksum) compare(ctx context.Context, where extent.List, buf []byte, read func(n int)) error {
	got, err := sum(ctx, where, c.hash(), buf, read)
	reversed := slices.Clone(got)
	slices.Reverse(reversed)
	c.State = Different
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case layoutstore.IsExhausted(err):
		return err
	case errors.Is(err, layoutstore.ErrStale):
		c.Reason = fmt.Sprintf("%s changed while it was read", c.Of)
	case err != nil:
		c.Reason = fmt.Sprintf("%s: %v", c.Of, err)
	case bytes.Equal(got, c.want):
		c.State = Same
	case c.Algorithm == gost && bytes.Equal(reversed, c.want):
		c.Reason = fmt.Sprintf("%s has this checksum in reversed byte order: the file's checksum is %x", c.Of, got)
	default:
		c.Reason = fmt.Sprintf("%s has the checksum %s", c.Of, hex.EncodeToString(got))
	}
	if c.listed && c.State == Different && err == nil {
		c.Reason = fmt.Sprintf("checksum mismatch: %s is sha256:%x", filepath.Base(c.Of), got)
	}
	return nil
}
