package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
)

// VerifyKey is the key that must have signed bundles. The zero value requires no signature.
type VerifyKey struct{ file string }

// AddFlags adds the flag to a set; verb says what the command does with signed bundles.
func (v *VerifyKey) AddFlags(f *pflag.FlagSet, verb string) {
	f.StringVar(&v.file, "verify-key", "", verb+" only what is signed with the private key of this public key: a PEM `file`, Ed25519 or ECDSA P-256")
}

// Read reads the key. It returns nil if the flag is not set.
func (v *VerifyKey) Read() (*inventory.VerifyKey, error) {
	key, err := readKey("--verify-key", v.file, inventory.ParseVerifyKey)
	if err != nil {
		return nil, exit.WithHint(err, "openssl pkey -in PRIVATE.pem -pubout -out PUBLIC.pem writes the public key of a private one")
	}
	return key, nil
}

// SignKey is the key that signs a bundle. The zero value signs nothing.
type SignKey struct{ file string }

// AddFlags adds the flag to a set.
func (s *SignKey) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&s.file, "sign-key", "", "sign the inventory with this private key, and write the signature to bundle.json.sig: a PEM `file` (PKCS#8), Ed25519 or ECDSA P-256")
}

// Read reads the key. It returns nil if the flag is not set.
func (s *SignKey) Read() (*inventory.SigningKey, error) {
	key, err := readKey("--sign-key", s.file, inventory.ParseSigningKey)
	if err != nil {
		return nil, exit.WithHint(err, "openssl genpkey -algorithm ed25519 -out PRIVATE.pem makes a private key")
	}
	return key, nil
}

// readKey reads the key in the file that a flag names. Its errors name both.
func readKey[K any](flag, file string, parse func([]byte) (*K, error)) (key *K, err error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	if err == nil {
		key, err = parse(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, file, err)
	}
	return key, nil
}
