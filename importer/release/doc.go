// Package release reads what Deckhouse says about its releases: versions and constraints of
// them, release channels, and the files of images that name other images.
//
// All of it is pure: bytes and text in, values out, without network, disk or clock. So what
// plans a pull and what judges a bundle read the same declarations by the same rules:
// [ParseImages] reads the images of a release or a module, [ParseExtraImages] a module's
// extra images, [ParseVersionFile] the image of a release channel, [ParseContract] what a
// plugin of the command line needs.
package release
