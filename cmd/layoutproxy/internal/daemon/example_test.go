package daemon

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// The example configuration is valid if the files that it names exist.
func TestExampleConfigurationIsValid(t *testing.T) {
	data, err := os.ReadFile("../../../../docs/config.example.yaml")
	layouttest.Try(t, err)
	dir := t.TempDir()
	writePair(t, dir, "server", newAuthority(t))
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, "htpasswd"), []byte("ci:$2y$05$926C3y10Quzn/LnqQH86VOEVh/18T6RnLaS.khre96jLNL/7e.K5W\n"), 0o600))
	file := filepath.Join(dir, "config.yaml")
	layouttest.Try(t, os.WriteFile(file, bytes.ReplaceAll(data, []byte("/etc/layoutproxy/"), []byte(dir+"/")), 0o644))
	flags := settingsOf(t, "--config", file)
	layouttest.Try(t, Check(Options{Settings: flags, Log: zap.NewNop()}))
	if len(flags.Config.Sources) < 2 || len(flags.Config.Roots) == 0 || !flags.TLS.On() {
		t.Errorf("docs/config.example.yaml: got %+v, want at least two sources, roots and TLS", flags)
	}
}
