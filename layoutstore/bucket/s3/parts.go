package s3

import (
	"bytes"
	"context"
	"crypto/md5" // for the ETag and the Content-MD5 of each part
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

func (p *place) putParts(ctx context.Context, key string, body io.Reader, size int64, options bucket.PutOptions) (bucket.Object, error) {
	partSize := bucket.SizeOfParts(size, p.partSize)
	id, there, err := p.resume(ctx, key, options)
	if err != nil {
		return bucket.Object{}, err
	}
	reader := &exactReader{body: body, left: size, size: size}
	buffer := make([]byte, partSize)
	var parts []minio.CompletePart
	sums := md5.New() // the ETag of an object in parts is the MD5 sum of the parts' MD5 sums
	for number := 1; reader.left > 0; number++ {
		data := buffer[:min(partSize, reader.left)]
		if _, err := io.ReadFull(reader, data); err != nil {
			return bucket.Object{}, err
		}
		sum := md5.Sum(data) // see above
		etag := hex.EncodeToString(sum[:])
		if old, ok := there[number]; !ok || old.Size != int64(len(data)) || trimETag(old.ETag) != etag {
			if etag, err = p.putPart(ctx, key, id, number, data, sum[:]); err != nil {
				return bucket.Object{}, err
			}
		}
		sums.Write(sum[:])
		parts = append(parts, minio.CompletePart{PartNumber: number, ETag: etag})
	}
	if err := readEnd(body); err != nil {
		return bucket.Object{}, err
	}
	expected := fmt.Sprintf("%x-%d", sums.Sum(nil), len(parts))
	return p.complete(ctx, key, id, parts, size, expected, options)
}

// readEnd checks that body is at its end. A reader that verifies a digest reports a mismatch only at the end.
func readEnd(body io.Reader) error {
	var rest [1]byte
	switch n, err := io.ReadFull(body, rest[:]); {
	case n > 0:
		return &bodyError{errors.New("the body is longer than the stated size")}
	case errors.Is(err, io.EOF):
		return nil
	default:
		return &bodyError{err}
	}
}

// resume returns the newest unfinished upload of a key, with its parts. If there is none, it starts
// an upload.
func (p *place) resume(ctx context.Context, key string, options bucket.PutOptions) (string, map[int]minio.ObjectPart, error) {
	var newest bucket.Upload
	err := p.uploads(ctx, key, func(u bucket.Upload) error {
		if u.Key == key && (newest.ID == "" || u.Begun.After(newest.Begun)) {
			newest = u
		}
		return nil
	})
	if err != nil {
		return "", nil, err
	}
	if newest.ID != "" {
		parts, err := p.partsOf(ctx, newest)
		if err == nil || !isMissing(err) {
			return newest.ID, parts, err
		}
	}
	var id string
	err = p.retry(ctx, func() (err error) {
		id, err = p.core.NewMultipartUpload(ctx, p.at.Bucket, p.key(key), putOptions(bucket.PutOptions{ContentType: options.ContentType}))
		return err
	})
	return id, nil, err
}

func (p *place) partsOf(ctx context.Context, u bucket.Upload) (map[int]minio.ObjectPart, error) {
	parts := map[int]minio.ObjectPart{}
	for marker := 0; ; {
		var page minio.ListObjectPartsResult
		err := p.retry(ctx, func() (err error) {
			page, err = p.core.ListObjectParts(ctx, p.at.Bucket, p.key(u.Key), u.ID, marker, 1000)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, part := range page.ObjectParts {
			parts[part.PartNumber] = part
		}
		if !page.IsTruncated || page.NextPartNumberMarker <= marker {
			return parts, nil
		}
		marker = page.NextPartNumberMarker
	}
}

func (p *place) putPart(ctx context.Context, key, id string, number int, data, sum []byte) (string, error) {
	digest := sha256.Sum256(data)
	var part minio.ObjectPart
	err := p.retry(ctx, func() (err error) {
		part, err = p.core.PutObjectPart(ctx, p.at.Bucket, p.key(key), id, number, bytes.NewReader(data), int64(len(data)), minio.PutObjectPartOptions{
			Md5Base64: base64.StdEncoding.EncodeToString(sum), Sha256Hex: hex.EncodeToString(digest[:]), DisableContentSha256: true,
		})
		return err
	})
	return part.ETag, err
}

// complete joins the parts of an upload. The upload may be gone because an answer was lost, or
// because another writer of the same content was faster. If it is gone, complete still succeeds if
// the object has the expected size and ETag.
func (p *place) complete(ctx context.Context, key, id string, parts []minio.CompletePart, size int64, expected string, options bucket.PutOptions) (bucket.Object, error) {
	var info minio.UploadInfo
	err := p.retry(ctx, func() (err error) {
		info, err = p.core.CompleteMultipartUpload(ctx, p.at.Bucket, p.key(key), id, parts, putOptions(options))
		return err
	})
	if err == nil {
		return bucket.Object{Key: key, Size: size, ETag: trimETag(info.ETag)}, nil
	}
	if isMissing(err) {
		if o, statErr := p.Stat(ctx, key); statErr == nil && o.Size == size && strings.EqualFold(o.ETag, expected) {
			return o, nil
		}
	}
	return bucket.Object{}, err
}

// checkWritten decides whether a conditional write succeeded although it returned an error. The
// store may have carried out an earlier attempt whose answer was lost. sum is the SHA-256 of the
// body in hexadecimal digits.
func (p *place) checkWritten(ctx context.Context, key, sum string, failed error) (bucket.Object, error) {
	body, o, err := p.Get(ctx, key, 0, -1, "")
	if err != nil {
		return bucket.Object{}, failed
	}
	defer body.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, body); err != nil || hex.EncodeToString(digest.Sum(nil)) != sum {
		return bucket.Object{}, failed
	}
	return o, nil
}

func (p *place) Uploads(ctx context.Context, prefix string, each func(bucket.Upload) error) error {
	return wrap(ctx, p.where(prefix), p.uploads(ctx, prefix, each))
}

func (p *place) uploads(ctx context.Context, prefix string, each func(bucket.Upload) error) error {
	keyMarker, idMarker := "", ""
	for {
		var page minio.ListMultipartUploadsResult
		err := p.retry(ctx, func() (err error) {
			page, err = p.core.ListMultipartUploads(ctx, p.at.Bucket, p.key(prefix), keyMarker, idMarker, "", 1000)
			return err
		})
		if isMissing(err) { // some stores answer 404 if there has never been an upload
			return nil
		}
		if err != nil {
			return err
		}
		for _, u := range page.Uploads {
			if err := each(bucket.Upload{Key: strings.TrimPrefix(u.Key, p.at.Prefix), ID: u.UploadID, Begun: u.Initiated}); err != nil {
				return err
			}
		}
		if !page.IsTruncated || page.NextKeyMarker == keyMarker && page.NextUploadIDMarker == idMarker {
			return nil
		}
		keyMarker, idMarker = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

func (p *place) Abort(ctx context.Context, upload bucket.Upload) error {
	err := p.retry(ctx, func() error {
		return p.core.AbortMultipartUpload(ctx, p.at.Bucket, p.key(upload.Key), upload.ID)
	})
	if isMissing(err) {
		return nil
	}
	return wrap(ctx, p.where(upload.Key), err)
}
