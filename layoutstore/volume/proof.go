package volume

import (
	"context"
	"encoding/json"
	"io"
)

// verdict is what the content of an entry says of itself.
type verdict int

const (
	contentUnproven verdict = iota // nobody can tell, or it costs too much
	contentProven
	contentWrong
)

// maxIndexProof bounds an index.json that is read to prove it.
const maxIndexProof = 64 << 20

// prove reads the content of an entry. A blob is proven by its digest; an index.json
// by its syntax, as bytes from behind it would end no JSON document.
func (s *scan) prove(ctx context.Context, m mark) (verdict, error) {
	name, illegal := cleanName(m.name)
	if illegal != "" || !m.file || hidden(name) {
		return contentUnproven, nil
	}
	_, d, ok := parseName(name)
	switch {
	case !ok || m.entry.size > maxLastProof || d == "" && m.entry.size > maxIndexProof:
		return contentUnproven, nil
	case d == "":
		data := make([]byte, 0, m.entry.size)
		err := s.read(ctx, m.entry.off, m.entry.size, func(b []byte) { data = append(data, b...) })
		return verdictOf(json.Valid(data)), err
	case !d.Algorithm().Available():
		return contentUnproven, nil
	}
	v := d.Verifier()
	err := s.read(ctx, m.entry.off, m.entry.size, func(b []byte) { _, _ = v.Write(b) }) // a hash takes everything
	return verdictOf(v.Verified()), err
}

func verdictOf(right bool) verdict {
	if right {
		return contentProven
	}
	return contentWrong
}

// read hands n bytes of the archive from off on to use, piece by piece, and leaves
// the scan where it is. Errors: the context's; those of the files.
func (s *scan) read(ctx context.Context, off, n int64, use func([]byte)) error {
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
		use(buf[:k])
		n -= int64(k)
	}
	return nil
}
