package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/streebog"
)

// State says what came of a checksum.
type State string

// The states of a checksum.
const (
	Same      State = "same"
	Different State = "different" // the file is not what it was, or the checksum is of another
	Illegible State = "illegible" // the file that should hold a checksum holds none
	Absent    State = "absent"    // what it is of is not here, which changes nothing
)

// Checksum is one that lies beside the archives, and what came of it.
type Checksum struct {
	File      string `json:"file"`      // that holds it
	Of        string `json:"of"`        // what it is of; empty where that cannot be told
	Algorithm string `json:"algorithm"` // "sha256" or "gost", which is GOST R 34.11-2012 of 256 bits
	State     State  `json:"state"`
	Reason    string `json:"reason"`

	want []byte
}

// bad says whether the checksum keeps the tree from being whole.
func (c *Checksum) bad() bool { return c.State == Different || c.State == Illegible }

func (c *Checksum) hash() hash.Hash {
	if c.Algorithm == gost {
		return streebog.New()
	}
	return sha256.New()
}

// compare reads what the checksum is of. The error is the context's, or one that
// layoutstore.Exhausted knows.
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
		c.Reason = fmt.Sprintf("%s has this checksum in the other order of bytes: it is %x", c.Of, got)
	default:
		c.Reason = fmt.Sprintf("%s has the checksum %s", c.Of, hex.EncodeToString(got))
	}
	return nil
}
