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

// VerifyKey is the public key for the signatures of bundles. The zero value requires no signature.
type VerifyKey struct{ file string }

// AddFlags adds --verify-key. The flag's help begins with verb, such as "import".
func (v *VerifyKey) AddFlags(f *pflag.FlagSet, verb string) {
	f.StringVar(&v.file, "verify-key", "", verb+" only bundles whose signature matches this public key: a PEM `file`, Ed25519 or ECDSA P-256")
}

// Read reads the key file. It returns nil without --verify-key.
func (v *VerifyKey) Read() (*inventory.VerifyKey, error) {
	key, err := readKey("--verify-key", v.file, inventory.ParseVerifyKey)
	if err != nil {
		return nil, exit.WithHint(err, "to write the public key of a private key: openssl pkey -in PRIVATE.pem -pubout -out PUBLIC.pem")
	}
	return key, nil
}

// SignKey is the key that signs a bundle. The zero value signs nothing.
type SignKey struct{ file string }

// AddFlags adds --sign-key.
func (s *SignKey) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&s.file, "sign-key", "", "sign the inventory with this private key, and write the signature to bundle.json.sig: a PEM `file` (PKCS#8), Ed25519 or ECDSA P-256")
}

// Read reads the key file. It returns nil without --sign-key.
func (s *SignKey) Read() (*inventory.SigningKey, error) {
	key, err := readKey("--sign-key", s.file, inventory.ParseSigningKey)
	if err != nil {
		return nil, exit.WithHint(err, "to create a private key: openssl genpkey -algorithm ed25519 -out PRIVATE.pem")
	}
	return key, nil
}

// readKey reads the key file that a flag names. Errors name the flag and the file.
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
