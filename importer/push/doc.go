// Package push copies a tree of OCI image layouts into a registry, and proves what
// arrived.
//
// Start with [NewPlan], which says without the network what a push will carry where:
// the repository at a path of the tree is pushed to REGISTRY/PATH and that path. A
// [Pusher] carries it out; [Compare] compares a registry with a plan and changes
// nothing.
//
// A push looks first at what is there: a HEAD a manifest, and none in a repository
// that is not there. Then blobs are sent, those of all images together, each once; a
// repository that needs one which another has gets it mounted. Manifests follow what
// they name, as they are byte for byte; tags come when all content is there, and
// discovery tags after all other tags. So whatever interrupts a push, no tag of it
// leads to a gap. At the end each tag is asked for once more.
//
// What was sent is not sent again: an upload that was cut goes on inside of its blob,
// also in another process (see [State]).
//
// An [*Error] says on which side the fault lies. The registry's half of the protocol
// is package registry/client; this package knows no HTTP.
package push
