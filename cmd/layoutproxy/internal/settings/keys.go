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

// AddFlags adds the flag to a set; what names what happens to a bundle that the key signed.
func (v *VerifyKey) AddFlags(f *pflag.FlagSet, what string) {
	f.StringVar(&v.file, "verify-key", "", what+" only what is signed with the private key of this public key: a PEM `file`, Ed25519 or ECDSA P-256")
}

// Read reads the key. It is nil if none is asked for.
func (v *VerifyKey) Read() (*inventory.VerifyKey, error) {
	if v.file == "" {
		return nil, nil
	}
	data, err := readKey(v.file)
	var key *inventory.VerifyKey
	if err == nil {
		key, err = inventory.ParseVerifyKey(data)
	}
	if err != nil {
		return nil, exit.WithHint(fmt.Errorf("--verify-key %s: %w", v.file, err), "openssl pkey -in PRIVATE.pem -pubout -out PUBLIC.pem writes the public key of a private one")
	}
	return key, nil
}

// SignKey is the key that signs a bundle. The zero value signs nothing.
type SignKey struct{ file string }

// AddFlags adds the flag to a set.
func (s *SignKey) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&s.file, "sign-key", "", "sign the inventory with this private key, and write the signature to bundle.json.sig: a PEM `file` (PKCS#8), Ed25519 or ECDSA P-256")
}

// Read reads the key. It is nil if none is asked for.
func (s *SignKey) Read() (*inventory.SigningKey, error) {
	if s.file == "" {
		return nil, nil
	}
	data, err := readKey(s.file)
	var key *inventory.SigningKey
	if err == nil {
		key, err = inventory.ParseSigningKey(data)
	}
	if err != nil {
		return nil, exit.WithHint(fmt.Errorf("--sign-key %s: %w", s.file, err), "openssl genpkey -algorithm ed25519 -out PRIVATE.pem makes a private key")
	}
	return key, nil
}

// readKey reads the file of a key.
func readKey(name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err // the caller names the file
	}
	return data, err
}
