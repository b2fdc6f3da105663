// Package streebog computes the hash function GOST R 34.11-2012 with 256 bits. A `.gostsum` file
// beside an archive of a bundle contains such a sum.
//
// Start with [New]. The bytes of a sum are in the same order as in gogost and OpenSSL. RFC 6986
// prints messages and sums as numbers, with the last byte first, so its sums are reversed. A
// `.gostsum` file contains the bytes of a sum in lower-case hexadecimal, without a newline.
//
// The standard is RFC 6986. Comments name the section that the code implements.
package streebog

import (
	"encoding/binary"
	"hash"
)

const (
	// Size is the length of a sum in bytes.
	Size = 32
	// BlockSize is the number of bytes in a block.
	BlockSize = 64
)

// block contains 512 bits. The least significant word comes first.
type block [8]uint64

// state is the state of an unfinished hash computation (section 9).
type state struct {
	table *table
	h     block
	// bits is the number of message bits in the processed blocks.
	bits block
	// sum is the sum of the processed blocks, each read as a number of 512 bits.
	sum  block
	tail [BlockSize]byte
	n    int // the number of bytes in tail
}

// New returns a hash.Hash to which nothing has been written yet.
func New() hash.Hash {
	s := &state{table: tables()}
	s.Reset()
	return s
}

func (s *state) Size() int      { return Size }
func (s *state) BlockSize() int { return BlockSize }

func (s *state) Reset() {
	*s = state{table: s.table}
	for i := range s.h {
		s.h[i] = 0x0101010101010101 // the initial value for sums of 256 bits (section 6.1)
	}
}

// Write adds p to the hash. It never fails.
func (s *state) Write(p []byte) (int, error) {
	n := len(p)
	if s.n > 0 {
		k := copy(s.tail[s.n:], p)
		s.n, p = s.n+k, p[k:]
		if s.n < BlockSize {
			return n, nil
		}
		s.block(s.tail[:], BlockSize)
		s.n = 0
	}
	for len(p) >= BlockSize {
		s.block(p[:BlockSize], BlockSize)
		p = p[BlockSize:]
	}
	s.n = copy(s.tail[:], p)
	return n, nil
}

// Sum appends the sum to b. You may write further bytes afterwards.
func (s *state) Sum(b []byte) []byte {
	end := *s
	clear(end.tail[end.n:])
	end.tail[end.n] = 1 // padding of the last block (section 9, stage 3)
	end.block(end.tail[:], end.n)
	var none block
	end.table.compress(&end.h, &none, &end.bits)
	end.table.compress(&end.h, &none, &end.sum)
	for _, word := range end.h[4:] {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return b
}

// block processes a block in which n bytes belong to the message.
func (s *state) block(p []byte, n int) {
	var m block
	for i := range m {
		m[i] = binary.LittleEndian.Uint64(p[8*i:])
	}
	s.table.compress(&s.h, &s.bits, &m)
	s.bits.add(&block{uint64(n) * 8})
	s.sum.add(&m)
}
