package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// opensslKey makes a throwaway key pair with openssl. It returns the private key itself, and the
// name of the file that contains the public key.
func opensslKey(t *testing.T, args ...string) (key, public string) {
	t.Helper()
	dir := t.TempDir()
	private, public := dir+"/key", dir+"/key.pub"
	openssl(t, append([]string{"genpkey", "-out", private}, args...)...)
	openssl(t, "pkey", "-in", private, "-pubout", "-out", public)
	data, err := os.ReadFile(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(data), public
}

func openssl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput(); err != nil {
		t.Fatalf("openssl %q failed: %v\n%s", args, err, out)
	}
}

// The openssl commands in docs/release.md verify the signatures.
func TestSignatures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		key, check []string
	}{
		{"Ed25519", []string{"-algorithm", "ED25519"}, []string{"pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "PUBLIC", "-sigfile", "SIGNATURE", "-in"}},
		{"ECDSA", []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, []string{"dgst", "-sha256", "-verify", "PUBLIC", "-signature", "SIGNATURE"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text, public := opensslKey(t, c.key...)
			o := options{out: t.TempDir(), key: text}
			data := []byte("checksums\n")
			if err := o.write("sums", data); err != nil {
				t.Fatal(err)
			}
			if err := o.write("other", []byte("Checksums\n")); err != nil {
				t.Fatal(err)
			}
			if err := o.signFiles(map[string][]byte{"sums": data}); err != nil {
				t.Fatal(err)
			}
			args := strings.Fields(strings.NewReplacer("PUBLIC", public, "SIGNATURE", o.out+"/sums.sig").Replace(strings.Join(c.check, " ")))
			openssl(t, append(args, o.out+"/sums")...)
			if out, err := exec.CommandContext(t.Context(), "openssl", append(args, o.out+"/other")...).CombinedOutput(); err == nil {
				t.Errorf("openssl accepted the signature for altered bytes, want an error:\n%s", out)
			}
		})
	}
}

// An unsupported or malformed key is refused: no signature is written, and the error does not
// contain the key.
func TestUnsupportedKeys(t *testing.T) {
	t.Parallel()
	rsa, _ := opensslKey(t, "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
	for _, text := range []string{rsa, "secret"} {
		o := options{out: t.TempDir(), key: text}
		if err := o.signFiles(map[string][]byte{"sums": nil}); err == nil || strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "LAYOUTPROXY_RELEASE_KEY") {
			t.Errorf("key %.20q: got error %v, want one that names LAYOUTPROXY_RELEASE_KEY and does not contain the key", text, err)
		}
		if _, err := os.Stat(o.out + "/sums.sig"); err == nil {
			t.Error("signFiles refused the key, but wrote a signature, want none")
		}
	}
}
