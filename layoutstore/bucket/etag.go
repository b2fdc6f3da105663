package bucket

import (
	"crypto/md5" // what stores make ETags with
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// Objects of more than Threshold bytes are uploaded in parts of PartSize bytes, or in larger ones if there would be more
// than maxParts.
const (
	Threshold = 64 << 20
	PartSize  = 16 << 20
	maxParts  = 10000
)

// SizeOfParts returns the size in bytes of all parts of an object except the last.
func SizeOfParts(size, partSize int64) int64 { return max(partSize, (size+maxParts-1)/maxParts) }

// ETag computes the ETag that most stores assign to the content that is written to it: the MD5 sum, or the MD5 sum of the
// sums of the parts (https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html). Some stores assign others. So an
// equal ETag shows that the content was not damaged by accident. A different ETag shows nothing.
type ETag struct {
	whole hash.Hash
	parts hash.Hash // of the sums of parts; nil for an object of one piece
	part  int64     // bytes of a part
	left  int64     // bytes of this part that are still to come
	count int
}

// NewETag returns an ETag for the content of an object of size bytes.
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

// Is reports whether a store's ETag is that of the content. Do not write more content afterwards.
func (e *ETag) Is(etag string) bool {
	if e.parts == nil {
		return strings.EqualFold(etag, hex.EncodeToString(e.whole.Sum(nil)))
	}
	if e.left < e.part {
		e.endPart()
	}
	return strings.EqualFold(etag, fmt.Sprintf("%x-%d", e.parts.Sum(nil), e.count))
}
