package bucket

import (
	"crypto/md5" // stores compute ETags with MD5
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// Put uploads objects of more than Threshold bytes in parts of PartSize bytes. If there would be
// more than maxParts parts, Put makes the parts larger.
const (
	Threshold = 64 << 20
	PartSize  = 16 << 20
	maxParts  = 10000
)

// SizeOfParts returns the size in bytes of each part of an object. The last part may be smaller.
func SizeOfParts(size, partSize int64) int64 { return max(partSize, (size+maxParts-1)/maxParts) }

// ETag computes the ETag that most stores assign to an object. For an upload in one piece, this is the MD5
// sum of the content. For an upload in parts, it is the MD5 sum of the parts' MD5 sums
// (https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html). Some stores compute ETags differently.
// So an equal ETag shows that the content was not damaged by accident, but a different ETag shows nothing.
type ETag struct {
	whole hash.Hash
	// parts computes the MD5 sum of the parts' MD5 sums. It is nil for an object in one piece.
	parts hash.Hash
	// part is the size of a part in bytes.
	part int64
	// left is the number of bytes still missing from the current part.
	left  int64
	count int
}

// NewETag prepares to compute the ETag of an object of size bytes.
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

// Is reports whether etag is the ETag of the content written so far. Write no more content afterwards.
func (e *ETag) Is(etag string) bool {
	if e.parts == nil {
		return strings.EqualFold(etag, hex.EncodeToString(e.whole.Sum(nil)))
	}
	if e.left < e.part {
		e.endPart()
	}
	return strings.EqualFold(etag, fmt.Sprintf("%x-%d", e.parts.Sum(nil), e.count))
}
