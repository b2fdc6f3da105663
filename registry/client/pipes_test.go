//go:build unix

package client_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

func TestNamedPipesDoNotBlock(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "auth.json")
	layouttest.Try(t, layouttest.MakePipe(pipe))
	t.Setenv("REGISTRY_AUTH_FILE", pipe)
	if _, err := client.NewKeychain().Credential(t.Context(), "registry.test", "x"); !errors.Is(err, plainfile.ErrNotRegular) {
		t.Errorf("for a login file that is a named pipe, the error is %v, want ErrNotRegular", err)
	}
	for name, o := range map[string]client.Options{
		"authorities": {Registry: "registry.test", CAFile: pipe},
		"certificate": {Registry: "registry.test", CertFile: pipe, KeyFile: pipe},
	} {
		if _, err := client.New(o); !errors.Is(err, plainfile.ErrNotRegular) {
			t.Errorf("for a file (%s) that is a named pipe, the error is %v, want ErrNotRegular", name, err)
		}
	}
}
