// Package acceptance holds the built program against the OCI conformance suite and
// against clients that people use: crane, regctl, oras, skopeo and containerd, both as
// a library and as the daemon that it is.
//
// It is a module of its own, as what it needs must not weigh on the product's
// go.mod. The tools come with that module's go.mod, by its tool directives; skopeo,
// containerd and runc are the distribution's packages. A test whose tool is missing
// fails, and says how to get it.
//
// A second tier is behind the build tag full, as it takes many minutes: containerd 1.x
// and 2.x by ctr and as a kubelet asks them, podman, buildah and helm. Tools
// that the distribution does not package are built on first use, see installed.
//
// # Where to start
//
// [TestConformance] runs the whole suite, which writes too: a [front] takes the
// writes and turns them into plain OCI layouts, and the program under test serves
// those. The client tests pull examples/bundle and compare what they got with
// its files: see [sample]. [TestCtrPullsTheSample] and everyWay are where a containerd
// is run.
package acceptance
