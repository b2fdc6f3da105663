// Package acceptance tests the built program with the OCI conformance suite and with real
// clients: crane, regctl, oras, skopeo, and containerd as a library and as a daemon.
//
// It is a separate module, so that its dependencies are not in the program's go.mod. Most
// clients are tool directives of its go.mod; skopeo, containerd and runc are Debian packages. If
// a client is missing, its tests fail and say how to install it.
//
// Tests with the build tag full take many minutes: containerd 1.x and 2.x, with ctr and with the
// requests of a kubelet, podman, buildah and helm. Programs that Debian does not package are
// built on first use: see installed.
//
// # Where to start
//
// [TestConformance] runs the complete suite. The suite also writes, so a [front] stores its
// writes as plain OCI layouts, which the program under test serves. The client tests pull
// examples/bundle and compare the result with its files: see [sample]. [TestCtrPullsTheSample]
// and everyWay run containerd.
package acceptance
