// Package push copies a tree of OCI image layouts into a registry, and proves that everything
// arrived.
//
// Start with [NewPlan], which chooses the content and its destinations without the network: the
// repository at a path of the tree is pushed to REGISTRY/PATH followed by that path. [Run] executes
// the plan; [Compare] compares a registry with a plan and changes nothing.
//
// A push first finds the manifests that the registry already has: one HEAD per manifest, and
// none in a missing repository. Then it uploads the blobs of all images, each once, and mounts
// them into other repositories. Manifests follow their content, byte for byte. Tags follow after
// all content, and discovery tags after all other tags. So an interrupted push never leaves a
// tag that leads to an incomplete image. At the end the push requests each tag again.
//
// Nothing is sent twice: an interrupted upload resumes within its blob, even in another
// process (see [State]).
//
// An [*Error] says which side is at fault. Package registry/client implements the protocol;
// this package contains no HTTP.
package push
