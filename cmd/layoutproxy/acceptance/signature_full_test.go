//go:build full

package acceptance

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// openssl and cosign accept layoutproxy's signatures, and layoutproxy accepts signatures by
// openssl. The test tries Ed25519 and ECDSA keys. It needs the network only to build cosign.
func TestSignaturesWorkWithOtherTools(t *testing.T) {
	openssl := packaged(t, "openssl")
	c := signer{filepath.Join(installed(t, cosign, "cmd/cosign"), "cosign"), t.TempDir()}
	for name, k := range map[string]struct{ generate, sign, verify []string }{
		"Ed25519": {[]string{"genpkey", "-algorithm", "ed25519"},
			[]string{"pkeyutl", "-sign", "-rawin", "-inkey", "KEY", "-in", "FILE", "-out", "SIG"}, []string{"pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "PUB", "-in", "FILE", "-sigfile", "SIG"}},
		"ECDSA P-256": {[]string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"},
			[]string{"dgst", "-sha256", "-sign", "KEY", "-out", "SIG", "FILE"}, []string{"dgst", "-sha256", "-verify", "PUB", "-signature", "SIG", "FILE"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, bundle := t.TempDir(), filepath.Join(t.TempDir(), "bundle")
			run(t, "cp", "-R", abs(t, bundleDir), bundle)
			file := map[string]string{"KEY": filepath.Join(dir, "key.pem"), "PUB": filepath.Join(dir, "pub.pem"), "FILE": filepath.Join(bundle, "bundle.json"), "SIG": filepath.Join(bundle, "bundle.json.sig")}
			with := func(args []string) (all []string) {
				for _, a := range args {
					if path, ok := file[a]; ok {
						a = path
					}
					all = append(all, a)
				}
				return all
			}
			run(t, openssl, append(k.generate, "-out", file["KEY"])...)
			run(t, openssl, "pkey", "-in", file["KEY"], "-pubout", "-out", file["PUB"])
			run(t, program, "inventory", bundle, "--sign-key", file["KEY"])
			run(t, openssl, with(k.verify)...)
			run(t, program, "verify", bundle, "--verify-key", file["PUB"])

			signature := []byte(read(t, file["SIG"]))
			encoded := filepath.Join(dir, "signature.b64")
			must(t, os.WriteFile(encoded, []byte(base64.StdEncoding.EncodeToString(signature)), 0o644))
			blob := []string{"verify-blob", "--key", file["PUB"], "--signature", encoded, "--insecure-ignore-tlog", file["FILE"]}
			if out := c.run(t, blob...); !strings.Contains(out, "Verified OK") {
				t.Errorf("cosign verify-blob printed %q, want \"Verified OK\"", out)
			}

			run(t, openssl, with(k.sign)...)
			run(t, program, "verify", bundle, "--verify-key", file["PUB"])
			data := read(t, file["FILE"])
			must(t, os.WriteFile(file["FILE"], []byte(strings.Replace(data, `"program":"`, `"program":"not `, 1)), 0o644))
			if out, err := c.try(t, blob...); err == nil {
				t.Errorf("cosign verify-blob accepted an altered inventory, want an error: %s", out)
			}
			if _, _, err := execute(t, dir, program, []string{"verify", bundle, "--verify-key", file["PUB"]}); err == nil {
				t.Error("layoutproxy verify accepted an altered inventory, want an error")
			}
		})
	}
}
