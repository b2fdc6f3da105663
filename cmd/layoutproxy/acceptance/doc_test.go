// Package acceptance tests the built program with the OCI conformance suite and with real
// clients: crane, regctl, oras, skopeo, and containerd as a library and as a daemon.
//
// The package is in a module of its own, so that its dependencies are not in the program's go.mod.
// Most clients are tool directives in its go.mod. skopeo, containerd and runc are Debian packages.
// If a client is missing, its tests fail and print how to install it.
//
// Tests with the build tag full take many minutes. They use podman, buildah and helm, and
// containerd 1.x and 2.x, both through ctr and through the kubelet's interface (CRI).
// Programs that Debian does not package are built by [installed].
//
// # Where to start
//
// [TestConformance] runs the complete suite. The suite also pushes content, but the program is
// read-only. So a [front] writes the pushed content to OCI layouts, which the program under test
// serves. The client tests pull examples/bundle, and compare what they get with the files of the
// bundle: see [sample]. [TestCtrPullsTheSample] and [everyWay] run containerd.
package acceptance
