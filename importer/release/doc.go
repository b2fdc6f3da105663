// Package release parses what Deckhouse publishes about its releases: versions, constraints, release
// channels, and files in images that declare other images.
//
// All functions are pure: they use no network, disk or clock. Package pull uses them to select images, and
// package ready to check bundles. [ParseInstaller] and [ParseDigests] parse lists of images, and
// [ParseExtraImages] the list of a module's extra images. [ParseChannel] parses a release channel, and
// [ParseContract] the requirements of a command-line plugin.
package release
