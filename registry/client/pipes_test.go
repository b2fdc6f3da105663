//go:build unix

package client_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

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

// A credential helper may wait for ever, for example for a password that nobody enters. docker's package runs
// it without a context. A command that is stopped must not wait for the helper.
func TestCredentialHelperThatHangs(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("DOCKER_CONFIG", dir)
	started, hang := filepath.Join(dir, "started"), writeFile(t, "", dir, "hang")
	layouttest.Try(t, layouttest.MakePipe(started)) // the helper waits until this test reads from it
	writeFile(t, "#!/bin/sh\nread host\necho started > "+started+"\nwhile [ -e "+hang+" ]; do sleep 0.1; done\n"+
		`echo "{\"ServerURL\":\"$host\",\"Username\":\"helped\",\"Secret\":\"s\"}"`+"\n", dir, "docker-credential-hang")
	writeFile(t, `{"credHelpers":{"a.example":"hang"}}`, dir, "config.json")
	k := client.NewKeychain()
	ctx, cancel := contextWithCancel(t)
	defer cancel()
	ended := make(chan error, 2)
	ask := func() {
		_, err := k.Credential(ctx, "a.example", "x")
		ended <- err
	}
	go ask()
	if _, err := os.ReadFile(started); err != nil {
		t.Fatal(err)
	}
	go ask()
	cancel()
	for range 2 {
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("while the helper hangs, Credential returned the error %v after the end of its context, want context.Canceled", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("while the helper hangs, Credential did not return after the end of its context, want that it does")
		}
	}
	layouttest.Try(t, os.Remove(hang))
	if c, err := k.Credential(t.Context(), "a.example", "x"); err != nil || c.Username != "helped" {
		t.Errorf("after the helper has ended, the keychain found %v (error %v), want the login of the helper", c, err)
	}
}
