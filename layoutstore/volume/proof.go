package volume

import (
	"context"
	"encoding/json"
	"io"
)

// proofResult is the result of verifying the content of an entry.
type proofResult int

const (
	contentUnproven proofResult = iota // the content was not verified, because that is impossible or too expensive
	contentProven
	contentWrong
)

// maxIndexProof is the maximum size in bytes of an index.json that is read to verify it.
const maxIndexProof = 64 << 20

// proveContent reads and verifies the content of an entry. It verifies a blob by its digest. It
// verifies an index.json by its syntax, because content that is shifted or cut is not valid JSON.
func (s *scan) proveContent(ctx context.Context, m scannedEntry) (proofResult, error) {
	name, illegal := cleanName(m.name)
	if illegal != "" || !m.isFile || isHidden(name) {
		return contentUnproven, nil
	}
	_, d, ok := parseName(name)
	switch {
	case !ok || m.entry.size > s.size-m.entry.off || m.entry.size > maxLastProof || d == "" && m.entry.size > maxIndexProof:
		return contentUnproven, nil
	case d == "":
		data := make([]byte, 0, m.entry.size)
		err := s.read(ctx, m.entry.off, m.entry.size, func(b []byte) bool { data = append(data, b...); return true })
		return proofResultOf(json.Valid(data)), err
	case !d.Algorithm().Available():
		return contentUnproven, nil
	}
	v := d.Verifier()
	err := s.read(ctx, m.entry.off, m.entry.size, func(b []byte) bool { _, _ = v.Write(b); return true }) // writing to a hash never fails
	return proofResultOf(v.Verified()), err
}

func proofResultOf(right bool) proofResult {
	if right {
		return contentProven
	}
	return contentWrong
}

// read passes n bytes of the archive to the function use, starting at offset off. It passes them
// piece by piece, until use returns false. It leaves the position of the scan unchanged. It fails
// if ctx ends or the files cannot be read.
func (s *scan) read(ctx context.Context, off, n int64, use func([]byte) bool) error {
	pos := s.window.pos
	defer func() { s.window.pos = pos }()
	s.window.pos = off
	buf := make([]byte, min(n, windowSize))
	for i := 0; n > 0; i++ {
		if i%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		k, err := io.ReadFull(s.window, buf[:min(n, int64(len(buf)))])
		if err != nil {
			return err
		}
		if !use(buf[:k]) {
			return nil
		}
		n -= int64(k)
	}
	return nil
}
