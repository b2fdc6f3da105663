package streebog

import (
	"math/bits"
	"sync"
)

// table combines the transformations S, P and L (sections 6.2 to 6.4). It contains what each byte of a
// transposed word adds to the result. The first index is the position of the byte, the second its value.
type table [8][256]uint64

// tables makes the table when it is first needed, because most runs of the program do not need its 16 KiB.
var tables = sync.OnceValue(makeTable)

func makeTable() *table {
	var t table
	for place := range t {
		for b := range t[place] {
			for bit := range 8 {
				if pi[b]>>bit&1 != 0 {
					t[place][b] ^= matrix[63-8*place-bit]
				}
			}
		}
	}
	return &t
}

// lpsx returns the result of the transformation LPS for a XOR b (section 7).
func (t *table) lpsx(a, b *block) (out block) {
	r0, r1, r2, r3 := a[0]^b[0], a[1]^b[1], a[2]^b[2], a[3]^b[3]
	r4, r5, r6, r7 := a[4]^b[4], a[5]^b[5], a[6]^b[6], a[7]^b[7]
	for i := range out {
		out[i] = t[0][byte(r0)] ^ t[1][byte(r1)] ^ t[2][byte(r2)] ^ t[3][byte(r3)] ^
			t[4][byte(r4)] ^ t[5][byte(r5)] ^ t[6][byte(r6)] ^ t[7][byte(r7)]
		r0, r1, r2, r3 = r0>>8, r1>>8, r2>>8, r3>>8
		r4, r5, r6, r7 = r4>>8, r5>>8, r6>>8, r7>>8
	}
	return out
}

// compress applies the compression function g with N = n to h and the message block m (section 8).
// It stores the result in h.
func (t *table) compress(h, n, m *block) {
	key := t.lpsx(h, n)
	x := *m
	for i := range constants {
		x = t.lpsx(&key, &x)
		key = t.lpsx(&key, &constants[i])
	}
	for i := range h {
		h[i] ^= x[i] ^ key[i] ^ m[i]
	}
}

// add adds other to b. Both are numbers, and the sum is modulo 2^512.
func (b *block) add(other *block) {
	var carry uint64
	for i := range b {
		b[i], carry = bits.Add64(b[i], other[i], carry)
	}
}
