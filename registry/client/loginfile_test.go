package client_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// The keychain takes a login from an entry of docker's configuration only if the entry's key
// names the registry. The key is the host with or without a scheme and a path
// (https://docs.docker.com/reference/cli/docker/login/#credential-stores), or a repository in the
// registry (containers-auth.json(5)). The same file always gives the same login, and errors name
// the file.
func FuzzLoginFile(f *testing.F) {
	const host, repository = "registry.example:5000", "deckhouse/ee/install"
	dir := f.TempDir()
	for _, name := range []string{"REGISTRY_AUTH_FILE", "DOCKER_AUTH_CONFIG", "XDG_RUNTIME_DIR", "PATH"} { // so that the keychain finds no other file and no helper
		f.Setenv(name, "")
		if err := os.Unsetenv(name); err != nil {
			f.Fatal(err)
		}
	}
	f.Setenv("DOCKER_CONFIG", dir)
	f.Setenv("XDG_CONFIG_HOME", dir)
	for _, s := range []string{
		"", "{}", "null", `{"auths":{"registry.example:5000":{"auth":"YW5uOnNlY3JldA=="}}}`, `{"auths":{"https://registry.example:5000/v2/":{"username":"ann","password":"secret"}}}`,
		`{"auths":{"registry.example:5000/deckhouse":{"auth":"YW5uOnNlY3JldA=="},"registry.example":{"auth":"Ym9iOng="}}}`, `{"auths":{"registry.example:5000/other":{"auth":"YW5uOnNlY3JldA=="}}}`,
		`{"auths":{"registry.example:5000":{"identitytoken":"t"}}}`, `{"auths":{"registry.example:5000":{"auth":"****"}}}`, `{"auths":{"evil.example":{"auth":"YW5uOng="},"registry.example:5000.evil.example":{"auth":"YW5uOng="}}}`,
		`{"credsStore":"missing"}`, `{"credHelpers":{"registry.example:5000":"missing"}}`, `{"auths":[]}`, "{\"auths\":{\"\x00\":{}}}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		layouttest.WriteFile(t, filepath.Join(dir, "config.json"), data)
		found, err := client.NewKeychain().Credential(t.Context(), host, repository)
		if err != nil {
			if !errors.Is(err, client.ErrCredentials) || !strings.Contains(err.Error(), "config.json") {
				t.Fatalf("from the file %q, got the error %v, want ErrCredentials with the name config.json", data, err)
			}
			return
		}
		if again, err := client.NewKeychain().Credential(t.Context(), host, repository); err != nil || again != found {
			t.Fatalf("from the file %q, the first login was %v, the second %v (error %v), want the same", data, found, again, err)
		}
		if found.Empty() {
			return
		}
		var doc struct{ Auths map[string]json.RawMessage }
		_ = json.Unmarshal(data, &doc) // docker's package reads the first JSON value and ignores what follows
		if len(doc.Auths) == 0 {
			_ = json.NewDecoder(strings.NewReader(string(data))).Decode(&doc)
		}
		for key := range doc.Auths {
			if _, rest, ok := strings.Cut(key, "://"); ok {
				key = rest
			}
			if of, path, _ := strings.Cut(key, "/"); of == host && (path == "" || path == repository || strings.HasPrefix(repository, path+"/") || strings.HasPrefix(path, "v")) {
				return
			}
		}
		t.Fatalf("the file %q has no entry for %[2]s, but the keychain found a login for it", data, host)
	})
}
