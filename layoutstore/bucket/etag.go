package bucket

import (
	"crypto/md5" // what stores make ETags with
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// How large objects are uploaded in parts: above Threshold, in parts of PartSize, or of more where there would be more than MaxParts.
const (
	Threshold = 64 << 20
	PartSize  = 16 << 20
	MaxParts  = 10000
)

// SizeOfParts returns the bytes of each part of an object but the last.
func SizeOfParts(size, partSize int64) int64 { return max(partSize, (size+MaxParts-1)/MaxParts) }

// ETag computes the ETag that most stores give to what is written to it: the MD5 sum, or that of the sums of the parts
// (https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html). Some give another one. So an equal
// one proves the content against accidents, and a different one proves nothing.
type ETag struct {
	whole hash.Hash
	parts hash.Hash // of the sums of parts; nil for an object of one piece
	part  int64     // bytes of a part
	left  int64     // bytes of this part that are still to come
	count int
}

// NewETag returns the ETag of an object of a size, to write its content to.
func NewETag(size int64) *ETag {
	e := &ETag{whole: md5.New()} // see above
	if size > Threshold {
		e.parts = md5.New() // see above
		e.part = SizeOfParts(size, PartSize)
		e.left = e.part
	}
	return e
}

// Write implements io.Writer.
func (e *ETag) Write(p []byte) (int, error) {
	n := len(p)
	for e.parts != nil && int64(len(p)) >= e.left {
		e.whole.Write(p[:e.left])
		p = p[e.left:]
		e.endPart()
	}
	e.whole.Write(p)
	e.left -= int64(len(p))
	return n, nil
}

func (e *ETag) endPart() {
	e.parts.Write(e.whole.Sum(nil))
	e.whole.Reset()
	e.left = e.part
	e.count++
}

// Is reports whether an ETag of a store is that of the content. Nothing can be written afterwards.
func (e *ETag) Is(etag string) bool {
	if e.parts == nil {
		return strings.EqualFold(etag, hex.EncodeToString(e.whole.Sum(nil)))
	}
	if e.left < e.part {
		e.endPart()
	}
	return strings.EqualFold(etag, fmt.Sprintf("%x-%d", e.parts.Sum(nil), e.count))
}
