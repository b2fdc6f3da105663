// Package push copies a tree of OCI image layouts into a registry, and proves what
// arrived.
//
// Start with [NewPlan], which plans without the network what is pushed where: the repository at
// a path of the tree is pushed to REGISTRY/PATH followed by that path. A [Pusher] executes the
// plan; [Compare] compares a registry with a plan and changes nothing.
//
// A push first checks what the registry has: one HEAD per manifest, and none in a missing
// repository. Then it sends the blobs of all images, each once; other repositories get them by
// mounts. Manifests follow their content, byte for byte. Tags follow after all content, and
// discovery tags after all other tags. So an interrupted push never leaves a tag of an
// incomplete image. At the end it checks each tag again.
//
// Nothing is sent twice: an interrupted upload resumes inside of its blob, even in another
// process (see [State]).
//
// An [*Error] says which side is at fault. Package registry/client implements the protocol;
// this package contains no HTTP.
package push
