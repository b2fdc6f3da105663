package inventory

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// ErrKey is the error for a key that cannot be read, or has an unsupported type.
var ErrKey = errors.New("not a usable key")

// SigningKey is a private key with which inventories are signed.
type SigningKey struct{ private crypto.Signer }

// ParseSigningKey parses a private key in PKCS#8 (RFC 5958) as PEM. The key must be Ed25519 or
// ECDSA P-256. Every error wraps ErrKey.
func ParseSigningKey(data []byte) (*SigningKey, error) {
	der, err := decodePEM(data, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	switch key := key.(type) {
	case ed25519.PrivateKey:
		return &SigningKey{key}, nil
	case *ecdsa.PrivateKey:
		if key.Curve == elliptic.P256() {
			return &SigningKey{key}, nil
		}
	}
	return nil, errKind
}

var errKind = fmt.Errorf("%w: neither Ed25519 nor ECDSA P-256", ErrKey)

// decodePEM returns the content of the only PEM block in data, which must have the type want.
func decodePEM(data []byte, want string) ([]byte, error) {
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, fmt.Errorf("%w: not a PEM file", ErrKey)
	case block.Type == "ENCRYPTED PRIVATE KEY":
		return nil, fmt.Errorf("%w: the private key is encrypted, and layoutproxy asks for no passphrase: decrypt it with openssl pkcs8", ErrKey)
	case block.Type != want:
		return nil, fmt.Errorf("%w: the PEM block is %.50q, but must be %q", ErrKey, block.Type, want)
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, fmt.Errorf("%w: more than one PEM block", ErrKey)
	}
	return block.Bytes, nil
}

// Public returns the public key, which verifies signatures by k.
func (k *SigningKey) Public() *VerifyKey { return &VerifyKey{k.private.Public()} }

// Sign signs data, and returns the raw signature. An Ed25519 signature has 64 bytes (RFC 8032). An
// ECDSA signature is over the SHA-256 of data, and encoded in ASN.1 DER (RFC 3279, section 2.2.3).
// The same key and data always give the same signature (RFC 6979).
func (k *SigningKey) Sign(data []byte) ([]byte, error) {
	if _, ok := k.private.(ed25519.PrivateKey); ok {
		return k.private.Sign(nil, data, crypto.Hash(0))
	}
	sum := sha256.Sum256(data)
	return k.private.Sign(nil, sum[:], crypto.SHA256)
}

// EncodeSigned encodes an inventory with the id of the key, and signs the encoded bytes.
func (k *SigningKey) EncodeSigned(i *Inventory) (data, signature []byte, err error) {
	named := *i
	named.Key = k.Public().ID()
	if data, err = named.Encode(); err != nil {
		return nil, nil, err
	}
	signature, err = k.Sign(data)
	return data, signature, err
}

// VerifyKey is a public key that verifies the signatures of inventories.
type VerifyKey struct{ public crypto.PublicKey }

// ParseVerifyKey parses a public key (SubjectPublicKeyInfo in RFC 5280) as PEM. The key must be
// Ed25519 or ECDSA P-256. Every error wraps ErrKey.
func ParseVerifyKey(data []byte) (*VerifyKey, error) {
	der, err := decodePEM(data, "PUBLIC KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	switch key := key.(type) {
	case ed25519.PublicKey:
		return &VerifyKey{key}, nil
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() {
			return &VerifyKey{key}, nil
		}
	}
	return nil, errKind
}

// ID returns the id of the key: the sha256 of its DER form.
func (k *VerifyKey) ID() digest.Digest {
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		return "" // impossible for the two supported types of keys
	}
	return digest.FromBytes(der)
}

// Verify reports whether signature is a signature of data by this key.
func (k *VerifyKey) Verify(data, signature []byte) bool {
	switch key := k.public.(type) {
	case ed25519.PublicKey:
		return len(signature) == ed25519.SignatureSize && ed25519.Verify(key, data, signature)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(data)
		return ecdsa.VerifyASN1(key, sum[:], signature)
	}
	return false
}

// Refusal is the reason why the signature of a bundle is refused.
type Refusal string

// These are the reasons for refusing a signature.
const (
	Unsigned Refusal = "unsigned"  // the inventory or the signature is missing
	OtherKey Refusal = "other-key" // the inventory was signed with a different key, or names no key and may be altered
	Altered  Refusal = "altered"   // the inventory was changed after it was signed
)

// SignatureError is the error for a bundle whose signature is refused.
type SignatureError struct {
	Path   string // path of the inventory or of its signature
	Why    Refusal
	Reason string
}

func (e *SignatureError) Error() string { return e.Path + ": " + e.Reason }

// Verified verifies the signature of an inventory, and parses the inventory. Pass nil for data if
// the inventory is missing, and nil for signature if the signature is missing. path is the path of
// the inventory, for errors. The error is a *SignatureError, or ErrFormat if the signature is valid
// but the inventory is not.
func (k *VerifyKey) Verified(path string, data, signature []byte) (*Inventory, error) {
	refuse := func(why Refusal, format string, args ...any) (*Inventory, error) {
		return nil, &SignatureError{path, why, fmt.Sprintf(format, args...)}
	}
	switch {
	case data == nil:
		return refuse(Unsigned, "unsigned: there is no inventory")
	case signature == nil:
		return refuse(Unsigned, "unsigned: there is no %s", SignatureName)
	case k.Verify(data, signature):
		i, err := Parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return i, nil
	}
	// The inventory may contain the id of the key that signed it. The signature contains no id.
	i, err := Parse(data)
	switch {
	case err != nil:
		return refuse(Altered, "altered after it was signed: %v", err)
	case i.Key == k.ID():
		return refuse(Altered, "the inventory or %s was altered after it was signed with this key", SignatureName)
	case i.Key != "":
		return refuse(OtherKey, "signed with another key: %s, but the key to verify with is %s", i.Key, k.ID())
	}
	return refuse(OtherKey, "signed with a different key than %s, or altered after it was signed", k.ID())
}
