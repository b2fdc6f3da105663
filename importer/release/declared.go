package release

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// PlatformDigests is the list of images in the platform image, which clusters use. It has the
// same form as [InstallerDigests].
const PlatformDigests = "deckhouse/modules/images_digests.json"

// ErrNothingDeclared reports an installer without a file that declares images.
var ErrNothingDeclared = errors.New("the installer has neither " + InstallerTags + " nor " + InstallerDigests)

// ParseInstaller reads the images that an installer declares, sorted by name, from its file
// [InstallerTags] or else [InstallerDigests]. Errors: ErrNothingDeclared; that of a malformed
// file.
func ParseInstaller(files map[string][]byte) ([]Image, error) {
	file, parse := InstallerTags, ParseTags
	if files[file] == nil {
		file, parse = InstallerDigests, ParseDigests
	}
	if files[file] == nil {
		return nil, ErrNothingDeclared
	}
	images, err := parse(files[file])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return images, nil
}

// Database is a vulnerability database of an edition, and its tag.
type Database struct{ Name, Tag string }

// Databases returns the vulnerability databases. An edition without the first one has none of them.
func Databases() []Database {
	return []Database{{"trivy-db", "2"}, {"trivy-bdu", "1"}, {"trivy-java-db", "1"}, {"trivy-checks", "0"}}
}

// Requirements are the requirements of a release, by name, as `k8s: 1.27`.
type Requirements map[string]string

// ParseRequirements reads the requirements in the version file of a release.
func ParseRequirements(file []byte) (Requirements, error) {
	var doc struct {
		Requirements Requirements `json:"requirements"`
	}
	err := parseVersionFile(file, &doc)
	return doc.Requirements, err
}

// migratedModules is the requirement that lists modules which used to be part of the
// platform, separated by commas. A cluster refuses the release unless a source has them
// (deckhouse/deckhouse, the release controller's check of that name).
const migratedModules = "migratedModules"

// Modules returns the names of the modules that have to be available, sorted and without
// duplicates.
func (r Requirements) Modules() (names []string) {
	for name := range strings.SplitSeq(r[migratedModules], ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// OfCluster returns the requirements that only the cluster itself can meet, as "k8s 1.27",
// sorted.
func (r Requirements) OfCluster() (all []string) {
	for name, value := range r {
		if name != migratedModules {
			all = append(all, strings.TrimSpace(name+" "+value))
		}
	}
	slices.Sort(all)
	return all
}
