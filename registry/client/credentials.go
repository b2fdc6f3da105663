package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/wait"
)

// Credential is a login for a registry. The zero value means anonymous.
type Credential struct {
	Username string
	Password string
	// IdentityToken is exchanged for access tokens.
	IdentityToken string
	// RegistryToken is sent to the registry as it is.
	RegistryToken string
	// Source names the file or variable that contains the credential, for messages.
	Source string
}

// String describes the credential without its secrets.
func (c Credential) String() string {
	switch {
	case c.Empty():
		return "no credentials"
	case c.Username == "":
		return "a token from " + c.Source
	}
	return fmt.Sprintf("user %q from %s", c.Username, c.Source)
}

// GoString returns the same text as String, so that %#v shows no secret either.
func (c Credential) GoString() string { return c.String() }

// Empty reports whether the credential is anonymous.
func (c Credential) Empty() bool {
	return c.Username == "" && c.Password == "" && c.IdentityToken == "" && c.RegistryToken == ""
}

// Keychain finds credentials where docker and podman store them.
type Keychain struct {
	files []string

	mu    sync.Mutex // held while a credential helper runs, so that only one runs at a time
	known map[string]known
}

type known struct {
	credential Credential
	at         time.Time
}

const (
	// dockerHub is the registry of Docker Hub in a [Reference].
	dockerHub = "index.docker.io"
	// podmanHub is the name under which podman stores the login for Docker Hub.
	podmanHub = "docker.io"
)

// keepKnown is how long a credential is cached. Some helpers return credentials that expire.
const keepKnown = 10 * time.Minute

// NewKeychain reads the environment, but no file yet. The keychain finds credentials in the file
// that REGISTRY_AUTH_FILE names, in docker's configuration ($DOCKER_CONFIG, or .docker in the
// home directory), and in podman's auth.json. Docker's configuration includes credential helpers
// and DOCKER_AUTH_CONFIG.
func NewKeychain() *Keychain {
	home, _ := os.UserHomeDir()
	k := &Keychain{known: map[string]known{}}
	add := func(dir string, elem ...string) {
		if dir != "" {
			k.files = append(k.files, filepath.Join(append([]string{dir}, elem...)...))
		}
	}
	add(os.Getenv("REGISTRY_AUTH_FILE"))
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		add(dir, config.ConfigFileName)
	} else {
		add(home, ".docker", config.ConfigFileName)
	}
	add(os.Getenv("XDG_RUNTIME_DIR"), "containers", "auth.json")
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		add(dir, "containers", "auth.json")
	} else {
		add(home, ".config", "containers", "auth.json")
	}
	return k
}

// Credential returns the first credential for a repository of host, or an empty one. If a helper fails or
// a file is unreadable, the error wraps ErrCredentials. Only the file in REGISTRY_AUTH_FILE must exist.
// If ctx ends, Credential returns its cause at once, although a helper may still be running.
func (k *Keychain) Credential(ctx context.Context, host, repository string) (Credential, error) {
	return wait.For(ctx, func() (Credential, error) {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.cached(host+"/"+repository, func() (Credential, error) { return k.find(ctx, host, repository) })
	}, nil)
}

// cached returns the cached credential for key. If there is none, it calls find and caches the
// result.
func (k *Keychain) cached(key string, find func() (Credential, error)) (Credential, error) {
	if have, ok := k.known[key]; ok && time.Since(have.at) < keepKnown {
		return have.credential, nil
	}
	c, err := find()
	if err == nil {
		k.known[key] = known{c, time.Now()}
	}
	return c, err
}

func (k *Keychain) find(ctx context.Context, host, repository string) (Credential, error) {
	for i, file := range k.files {
		if err := ctx.Err(); err != nil {
			return Credential{}, err
		}
		c, err := k.lookUp(file, host, repository)
		if errors.Is(err, fs.ErrNotExist) && i == 0 && file == os.Getenv("REGISTRY_AUTH_FILE") {
			return Credential{}, fmt.Errorf("REGISTRY_AUTH_FILE: %w: %w", ErrCredentials, err)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Credential{}, fmt.Errorf("%s: %w: %w", file, ErrCredentials, err)
		}
		if !c.Empty() {
			return c, nil
		}
	}
	return lookUpEnvironment(host)
}

// lookUp searches one file. It looks first for the repository and its parent paths, as podman
// stores them, and then for the host. For Docker Hub, it then looks for podman's name in the same file,
// because a login in an earlier file takes precedence under either name.
func (k *Keychain) lookUp(file, host, repository string) (Credential, error) {
	f, err := plainfile.Open(file)
	if err != nil {
		return Credential{}, err
	}
	defer f.Close()
	doc, err := config.LoadFromReader(f)
	if err != nil {
		return Credential{}, err
	}
	for path := repository; path != ""; path = path[:max(strings.LastIndexByte(path, '/'), 0)] {
		if entry, ok := doc.AuthConfigs[host+"/"+path]; ok {
			return credentialOf(entry, file), nil
		}
	}
	if c := credentialOf(doc.AuthConfigs[host], file); host == podmanHub && !c.Empty() {
		return c, nil // docker's package looks only for its own name of Docker Hub
	}
	// Drop the entries for paths: docker's package would use their logins for the whole host.
	maps.DeleteFunc(doc.AuthConfigs, func(key string, _ types.AuthConfig) bool { return isPathKey(key) })
	// Credential helpers know only hosts, so the result applies to all repositories of a host.
	found, err := k.cached("\x00"+file+"\x00"+host, func() (Credential, error) {
		entry, err := doc.GetAuthConfig(host)
		return credentialOf(entry, file), err
	})
	if err == nil && found.Empty() && host == dockerHub {
		return k.lookUp(file, podmanHub, repository)
	}
	return found, err
}

// isPathKey reports whether a key of an auth file stands for a path in a registry. The key of a
// complete registry may also have a path: /v1/ or /v2/, for the version of the API.
func isPathKey(key string) bool {
	_, path, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://"), "/")
	path = strings.TrimSuffix(path, "/")
	return path != "" && path != "v1" && path != "v2"
}

// lookUpEnvironment reads DOCKER_AUTH_CONFIG. This is needed only if there is no file, because
// docker's package reads the variable together with each file.
func lookUpEnvironment(host string) (Credential, error) {
	doc, err := config.LoadFromReader(strings.NewReader("{}"))
	if err != nil {
		return Credential{}, err
	}
	entry, err := doc.GetAuthConfig(host)
	if err != nil {
		return Credential{}, fmt.Errorf("DOCKER_AUTH_CONFIG: %w: %w", ErrCredentials, err)
	}
	return credentialOf(entry, "DOCKER_AUTH_CONFIG"), nil
}

func credentialOf(entry types.AuthConfig, source string) Credential {
	c := Credential{
		Username: entry.Username, Password: entry.Password,
		IdentityToken: entry.IdentityToken, RegistryToken: entry.RegistryToken, Source: source,
	}
	if c.Username == "<token>" { // helpers return identity tokens under this user name
		c.Username, c.Password, c.IdentityToken = "", "", c.Password
	}
	return c
}
