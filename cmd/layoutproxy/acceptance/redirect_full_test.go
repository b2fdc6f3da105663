//go:build full

package acceptance

import (
	"path/filepath"
	"testing"
)

// crane, skopeo and containerd follow redirects to the object store, and get complete images.
func TestClientsFollowRedirects(t *testing.T) {
	v := startVersity(t)
	v.upload(t, bundleDir, "bundle")
	s := serve(t, v.place("bundle"), v.flags("--s3-redirect")...)
	pulledByBoth(t, s, startContainerd(t, packagedRelease(t), nil), "redirected", samples(t, installer, plugin))
	i := pick(t, sample(t), installer)
	dir := filepath.Join(t.TempDir(), "copied")
	run(t, packaged(t, "skopeo"), "--insecure-policy", "copy", "--src-tls-verify=false", "docker://"+i.reference(s), "oci:"+dir+":v1")
	contentOf(t, i.layout(), i.digest).compare(t, "skopeo", contentOf(t, layout(dir), i.digest))
}
