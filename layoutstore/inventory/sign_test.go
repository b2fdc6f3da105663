package inventory_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	layouttest.Try(t, err)
	return data
}

func signingKey(t *testing.T, name string) *inventory.SigningKey {
	t.Helper()
	key, err := inventory.ParseSigningKey(read(t, name+".key"))
	layouttest.Try(t, err)
	return key
}

func verifyKey(t *testing.T, name string) *inventory.VerifyKey {
	t.Helper()
	key, err := inventory.ParseVerifyKey(read(t, name+".pub"))
	layouttest.Try(t, err)
	return key
}

// OpenSSL 3.0.19 made the keys and signatures in testdata, with these commands:
//
//	openssl genpkey -algorithm ed25519
//	openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256
//	openssl pkeyutl -sign -rawin -inkey ed25519.key -in message
//	openssl dgst -sha256 -sign p256.key message
func TestSignaturesOfOpenSSL(t *testing.T) {
	message := read(t, "message")
	for _, name := range []string{"ed25519", "p256"} {
		signature, public := read(t, "message."+name+".sig"), verifyKey(t, name)
		if !public.Verify(message, signature) {
			t.Errorf("%s: Verify(signature of OpenSSL) = false, want true", name)
		}
		if public.Verify(append(message, '.'), signature) || public.Verify(message, append(signature, 0)) || public.Verify(message, nil) {
			t.Errorf("%s: Verify(wrong message or signature) = true, want false", name)
		}
		key := signingKey(t, name)
		if key.Public().ID() != public.ID() {
			t.Errorf("%s: the ids of the private and of the public key differ, want equal ids", name)
		}
		own, err := key.Sign(message)
		layouttest.Try(t, err)
		again, err := key.Sign(message)
		layouttest.Try(t, err)
		if !public.Verify(message, own) || !bytes.Equal(own, again) {
			t.Errorf("%s: Sign, twice: got the signatures %x and %x, want valid and equal ones", name, own, again)
		}
		for _, other := range []string{"ed25519", "p256"} {
			if other != name && verifyKey(t, other).Verify(message, own) {
				t.Errorf("signature by the key %s: Verify by the key %s = true, want false", name, other)
			}
		}
	}
	// This command prints the id: openssl pkey -pubin -in ed25519.pub -outform DER | sha256sum
	if id := verifyKey(t, "ed25519").ID(); id != "sha256:5d6b8ed8e746200f092cf2fbaee770f8d98fa54d8a10723769b50b4b0643ff5b" {
		t.Error(id)
	}
}

func TestUnsupportedKeysAreRefused(t *testing.T) {
	for name, want := range map[string]string{
		"p384.key": "neither Ed25519 nor ECDSA P-256", "rsa.key": "neither Ed25519 nor ECDSA P-256", "encrypted.key": "encrypted",
		"sec1.key": "EC PRIVATE KEY", "p256.pub": "PUBLIC KEY", "message": "not a PEM file",
	} {
		if _, err := inventory.ParseSigningKey(read(t, name)); !errors.Is(err, inventory.ErrKey) || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseSigningKey(%s): got error %v, want ErrKey with the text from the table", name, err)
		}
	}
	for name, want := range map[string]string{
		"p384.pub": "neither Ed25519 nor ECDSA P-256", "rsa.pub": "neither Ed25519 nor ECDSA P-256", "p256.key": "PRIVATE KEY", "message": "not a PEM file",
	} {
		if _, err := inventory.ParseVerifyKey(read(t, name)); !errors.Is(err, inventory.ErrKey) || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseVerifyKey(%s): got error %v, want ErrKey with the text from the table", name, err)
		}
	}
	two := append(read(t, "p256.pub"), read(t, "ed25519.pub")...)
	if _, err := inventory.ParseVerifyKey(two); !errors.Is(err, inventory.ErrKey) {
		t.Errorf("ParseVerifyKey(file with two keys): got error %v, want ErrKey", err)
	}
	broken := bytes.Replace(read(t, "p256.pub"), []byte("M"), []byte("N"), 1)
	if _, err := inventory.ParseVerifyKey(broken); !errors.Is(err, inventory.ErrKey) {
		t.Errorf("ParseVerifyKey(key with a changed letter): got error %v, want ErrKey", err)
	}
}

// Verified refuses data that the key did not sign, and returns the reason.
func TestVerifiedRefusesWrongSignatures(t *testing.T) {
	for _, name := range []string{"ed25519", "p256"} {
		key := signingKey(t, name)
		public := key.Public()
		data, signature, err := key.EncodeSigned(sample(t))
		layouttest.Try(t, err)
		i, err := public.Verified("bundle.json", data, signature)
		if err != nil || i.Bundle != sample(t).Bundle || i.Key != public.ID() {
			t.Fatalf("%s: Verified(signed inventory): got error %v, want none, and the ids of the bundle and the key", name, err)
		}
		plain := encode(t, sample(t)) // an inventory without the id of the key, as openssl signs it
		plainSignature, err := key.Sign(plain)
		layouttest.Try(t, err)
		if _, err := public.Verified("bundle.json", plain, plainSignature); err != nil {
			t.Errorf("%s: Verified(inventory without the id of the key): got error %v, want none", name, err)
		}
		other := signingKey(t, map[string]string{"ed25519": "p256", "p256": "ed25519"}[name]).Public()
		changed := bytes.Replace(data, []byte(`"size":10`), []byte(`"size":11`), 1)
		for what, c := range map[string]struct {
			by              *inventory.VerifyKey
			data, signature []byte
			why             inventory.Refusal
		}{
			"no inventory": {public, nil, signature, inventory.Unsigned},
			"no signature": {public, data, nil, inventory.Unsigned},
			"another key":  {other, data, signature, inventory.OtherKey},
			"another key, for an inventory without the name of its key": {other, plain, plainSignature, inventory.OtherKey},
			"altered":                            {public, changed, signature, inventory.Altered},
			"emptied":                            {public, []byte{}, signature, inventory.Altered},
			"an empty signature":                 {public, data, []byte{}, inventory.Altered},
			"the signature of another inventory": {public, data, plainSignature, inventory.Altered},
		} {
			_, err := c.by.Verified("bundle.json", c.data, c.signature)
			var refused *inventory.SignatureError
			if !errors.As(err, &refused) || refused.Why != c.why {
				t.Errorf("%s: Verified, %s: got error %v, want a SignatureError with the reason %q", name, what, err, c.why)
			}
		}
		bad := []byte(`{"formatVersion":2}`)
		badSignature, err := key.Sign(bad)
		layouttest.Try(t, err)
		if _, err := public.Verified("bundle.json", bad, badSignature); !errors.Is(err, inventory.ErrFormat) {
			t.Errorf("%s: Verified(signed file that is no inventory): got error %v, want ErrFormat", name, err)
		}
	}
}

// If a single bit of the inventory or its signature changes, the signature is refused. The full
// test tier tries all bits.
func TestSignatureCoversEveryBit(t *testing.T) {
	every := 37
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		every = 1
	}
	for _, name := range []string{"ed25519", "p256"} {
		key := signingKey(t, name)
		data, signature, err := key.EncodeSigned(sample(t))
		layouttest.Try(t, err)
		flips := 0
		flip := func(what string, bytes []byte, step int) {
			for bit := 0; bit < 8*len(bytes); bit += step {
				bytes[bit/8] ^= 1 << (bit % 8)
				_, err := key.Public().Verified("bundle.json", data, signature)
				var refused *inventory.SignatureError
				if !errors.As(err, &refused) || refused.Why == inventory.Unsigned {
					t.Fatalf("%s: Verified after bit %d of the %s was changed: got error %v, want a SignatureError other than Unsigned", name, bit, what, err)
				}
				bytes[bit/8] ^= 1 << (bit % 8)
				flips++
			}
		}
		flip("inventory", data, every)
		flip("signature", signature, (every+9)/10)
		if flips < 200 {
			t.Errorf("%s: the test changed only %d bits, want at least 200", name, flips)
		}
		if _, err := key.Public().Verified("bundle.json", data, signature); err != nil {
			t.Error(err)
		}
	}
}
