package acceptance

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// containerd on a node asks Spegel first. If no other node has the content, Spegel answers 404
// (handleMirror in pkg/registry/registry.go of spegel-org/spegel). containerd then asks
// layoutproxy. The test writes hosts.toml as Spegel does for `additionalMirrorTargets`
// (templateHosts in pkg/oci/containerd/mirror.go).
func TestCtrPullsBehindSpegel(t *testing.T) {
	var asked atomic.Int64
	spegel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked.Add(1)
		http.Error(w, "no peer has this content", http.StatusNotFound)
	}))
	defer spegel.Close()
	s := serve(t, bundleDir)
	c := startContainerd(t, packagedRelease(t), nil)
	text := fmt.Sprintf("server = 'https://%s'\n", mirroredHost)
	for _, target := range []string{spegel.URL, "http://" + s.registry} {
		text += fmt.Sprintf("[host.'%s']\ncapabilities = ['pull', 'resolve']\ndial_timeout = '200ms'\n\n", target)
	}
	c.write(t, filepath.Join("certs.d", mirroredHost, "hosts.toml"), strings.TrimSpace(text))
	i := pick(t, sample(t), installer)
	c.ctr(t, "default", "content", "fetch", "--all-platforms", "--hosts-dir", c.certs, mirroredHost+"/"+installer)
	contentOf(t, i.layout(), i.digest).compare(t, installer, c.pulled(t, i.digest))
	if asked.Load() == 0 {
		t.Error("containerd sent no request to Spegel, want at least one")
	}
}
