package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// opensslKey returns a throwaway key of openssl and the file of its public half.
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
		t.Fatalf("openssl %q: %v\n%s", args, err, out)
	}
}

// Signatures are those that openssl verifies by the commands in docs/release.md.
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
				t.Errorf("the signature is good for other bytes:\n%s", out)
			}
		})
	}
}

// Keys of other kinds, and what is no key, are refused.
func TestReadKey(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"RSA":   {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"},
		"P-384": {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"},
	} {
		text, _ := opensslKey(t, args...)
		if _, err := readKey(text); err == nil || !strings.Contains(err.Error(), "use Ed25519") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"secret", "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"} {
		if _, err := readKey(text); err == nil || strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
