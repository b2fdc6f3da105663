package streebog_test

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/streebog"
)

// examples are from RFC 6986, section 10, in the byte order of the RFC.
var examples = []struct{ message, sum string }{
	{
		"323130393837363534333231303938373635343332313039383736353433323130393837363534333231303938373635343332313039383736353433323130",
		"00557be5e584fd52a449b16b0251d05d27f94ab76cbaa6da890b59d8ef1e159d",
	},
	{
		"fbe2e5f0eee3c820fbeafaebef20fffbf0e1e0f0f520e0ed20e8ece0ebe5f0f2f120fff0eeec20f120faf2fee5e2202ce8f6f3ede220e8e6eee1e8f0f2d1202ce8f0f2e5e220e5d1",
		"508f7e553c06501d749a66fc28c6cac0b005746d97537fa85d9e40904efed29d",
	},
}

// bytesOf returns the bytes of a hexadecimal number, beginning with the least significant byte.
func bytesOf(t *testing.T, printed string) []byte {
	t.Helper()
	b, err := hex.DecodeString(printed)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(b)
	return b
}

func TestExamplesFromStandard(t *testing.T) {
	for _, e := range examples {
		sum := sumOf(bytesOf(t, e.message))
		printed := slices.Clone(sum[:])
		slices.Reverse(printed)
		if got := hex.EncodeToString(printed); got != e.sum {
			t.Errorf("sum in the byte order of the standard: got %s, want %s", got, e.sum)
		}
		if want := hex.EncodeToString(bytesOf(t, e.sum)); hex.EncodeToString(sum[:]) != want {
			t.Errorf("sum in the byte order of a .gostsum file: got %s, want %s", hex.EncodeToString(sum[:]), want)
		}
	}
	// This is the first example again, in the byte order of gogost.
	const message = "012345678901234567890123456789012345678901234567890123456789012"
	sum := sumOf([]byte(message))
	if got, want := hex.EncodeToString(sum[:]), "9d151eefd8590b89daa6ba6cb74af9275dd051026bb149a452fd84e5e57b5500"; got != want {
		t.Errorf("sum in the byte order of gogost: got %s, want %s", got, want)
	}
}

// These sums were computed with libgcrypt 1.10. In a message of n bytes, the first byte is 3 and
// each following byte is 7 more. The last message consists of two blocks whose sum overflows.
func TestSumsAreEqualToLibgcrypt(t *testing.T) {
	for n, want := range map[int]string{
		0:      "3f539a213e97c802cc229d474c6aa32a825a360b2a933a949fd925208d9ce1bb",
		1:      "a2bbd7d298cae810287eb234dd0fbcac7ef16c1299a96d06bab6c23471230b37",
		31:     "e3f27f41dc69558713baf6e1ebe83b5d8a2f3d53faa2c96f5f493d028748be1f",
		32:     "cb2117b66b2574f1c7c745d70cb0cf7728eb7b623be1c09a9b725d330080ecd9",
		63:     "f8eb6899b91816f6e8e530df4bae028052e883ff526a6ff5458fb5fdf9c0689e",
		64:     "d3e3fd952ab5799cf10a3f78532664c82ee4441d7511ea188cff9d0e77899e2a",
		65:     "fada862f81c5b109848699d2c0507b9b255247516fbd4921f6d6a898cba384d2",
		127:    "65f562503599798e266e534577afdd88b3af1d6f26b203d6da67e3749b71c66e",
		128:    "cc7039ece11c50f823e040e42b125bdd0b8c023c3e303fbfe53993ff8e140368",
		1000:   "8b4226a19cbc2407457776e3b2756750968fb23175a3ea8ae86808c79688e427",
		100000: "fa50677d00eef09118f3fd65a5fadcbb062d4ca0cc62e557d9eb76a12bf81dfa",
	} {
		sum := sumOf(ramp(n))
		if got := hex.EncodeToString(sum[:]); got != want {
			t.Errorf("sum of %d bytes: got %s, want %s", n, got, want)
		}
	}
	sum := sumOf(bytes.Repeat([]byte{0xff}, 128))
	if got, want := hex.EncodeToString(sum[:]), "4749bfc37b7ddad7c745dc2da1fb22619f70154c064ae3b6cb34bc2b2c0827c1"; got != want {
		t.Errorf("sum of two blocks of ones: got %s, want %s", got, want)
	}
}

func ramp(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + 3)
	}
	return b
}

func TestWriteAfterSumAndReset(t *testing.T) {
	h := streebog.New()
	h.Write(ramp(100))
	first := h.Sum([]byte("before"))
	if !bytes.HasPrefix(first, []byte("before")) || len(first) != len("before")+h.Size() {
		t.Fatalf("Sum returned %q, want its argument followed by the sum", first)
	}
	if again := h.Sum([]byte("before")); !bytes.Equal(again, first) {
		t.Errorf("second call of Sum: got %x, want %x as from the first call", again, first)
	}
	h.Write(ramp(1000)[100:])
	if got, want := h.Sum(nil), sumOf(ramp(1000)); !bytes.Equal(got, want[:]) {
		t.Errorf("sum after a further write: got %x, want %x", got, want)
	}
	h.Reset()
	if got, want := h.Sum(nil), sumOf(nil); !bytes.Equal(got, want[:]) {
		t.Errorf("sum after a reset: got %x, want %x", got, want)
	}
	if h.BlockSize() != streebog.BlockSize {
		t.Errorf("BlockSize() = %d, want the constant BlockSize", h.BlockSize())
	}
}

// A message must have the same sum however it is split into writes.
func FuzzSplitWrites(f *testing.F) {
	f.Add(ramp(200), uint16(63), uint16(2))
	f.Add(ramp(64), uint16(64), uint16(0))
	f.Add([]byte{}, uint16(0), uint16(0))
	f.Fuzz(func(t *testing.T, message []byte, a, b uint16) {
		want := sumOf(message)
		h := streebog.New()
		first := min(int(a), len(message))
		second := min(first+int(b), len(message))
		for _, part := range [][]byte{message[:first], message[first:second], message[second:]} {
			if n, err := h.Write(part); n != len(part) || err != nil {
				t.Fatalf("Write: wrote %d of %d bytes with the error %v, want all bytes and no error", n, len(part), err)
			}
		}
		if got := h.Sum(nil); !bytes.Equal(got, want[:]) {
			t.Errorf("sum of %d bytes, written in parts from 0, %d and %d: got %x, want %x", len(message), first, second, got, want)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	h := streebog.New()
	data := ramp(1 << 20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		h.Write(data)
	}
}

func sumOf(data []byte) [streebog.Size]byte {
	h := streebog.New()
	h.Write(data)
	return [streebog.Size]byte(h.Sum(nil))
}
