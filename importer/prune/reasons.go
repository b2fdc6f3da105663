package prune

import "fmt"

// Rule is the kind of a [Reason].
type Rule string

// Rules of the policy that can keep an image.
const (
	KeptRelease  Rule = "keep-release"
	KeptDeployed Rule = "deployed"
	KeptNewer    Rule = "newer-than-deployed"
	KeptPrevious Rule = "keep-previous"
	KeptNewest   Rule = "keep-newest"
	KeptBundle   Rule = "keep-bundle"
	KeptGlob     Rule = "keep"
	KeptYoung    Rule = "older-than"
)

// Rules that keep an image under every policy.
const (
	ReleaseChannel  Rule = "release-channel"
	NotAVersion     Rule = "not-a-version"
	ByDigest        Rule = "by-digest"
	NoRule          Rule = "no-rule"
	UnknownDeployed Rule = "deployed-version-unknown"
	NotSuperseded   Rule = "not-superseded"
	NotDeclared     Rule = "not-declared"
	UnknownSubject  Rule = "unknown-subject"
	SameRelease     Rule = "same-release"
	DeclaredBy      Rule = "declared"
	UnreadableList  Rule = "unreadable-list"
	ChannelTarget   Rule = "channel"
	UnreadableChan  Rule = "unreadable-channel"
	PartOf          Rule = "part-of"
	SubjectOf       Rule = "subject"
	RefersTo        Rule = "referrer"
	InArchive       Rule = "archive"
	Unclear         Rule = "unclear"
	Grace           Rule = "grace"
)

// Rules that remove an image.
const (
	Superseded     Rule = "superseded"
	Replaced       Rule = "replaced"
	DeclaredByGone Rule = "declared-by-what-goes"
	RefersToGone   Rule = "refers-to-what-goes"
	PrunedBefore   Rule = "pruned-before"
)

// Reason says why an image is kept or removed. By is a detail of the rule, such as a version, a glob, a tag,
// a digest or an archive.
type Reason struct {
	Rule Rule   `json:"rule"`
	By   string `json:"by,omitempty"`
}

// String returns the reason as text.
func (r Reason) String() string {
	if format, ok := texts()[r.Rule]; ok {
		if r.By == "" {
			return format.alone
		}
		return fmt.Sprintf(format.by, r.By)
	}
	return string(r.Rule)
}

// text has the texts of a reason. A reason with By uses by. A reason without By uses alone. Several images
// with different values of By use many.
type text struct{ by, alone, many string }

func texts() map[Rule]text {
	return map[Rule]text{
		KeptRelease:     {by: "--keep-release %s"},
		KeptDeployed:    {by: "--deployed %s"},
		KeptNewer:       {by: "newer than the deployed version %s"},
		KeptPrevious:    {by: "--keep-previous %s"},
		KeptNewest:      {by: "--keep-newest %s"},
		KeptBundle:      {by: "--keep-bundle %s"},
		KeptGlob:        {by: "--keep %s"},
		KeptYoung:       {by: "--older-than: in the store since %s"},
		ReleaseChannel:  {alone: "a release channel", many: "release channels"},
		NotAVersion:     {by: "the tag %s is not a version", many: "each has a tag that is not a version"},
		ByDigest:        {alone: "it has no tag, and nothing proves that it was replaced"},
		NoRule:          {alone: "no rule applies to its repository"},
		UnknownDeployed: {alone: "the deployed version of the platform is unknown: set --deployed or --keep-release"},
		NotSuperseded:   {by: "no higher version than %s is kept in its repository", many: "no higher version is kept in the repository"},
		NotDeclared:     {alone: "no release in the store declares it"},
		UnknownSubject:  {by: "it belongs to %s, which the store does not have", many: "they belong to images that the store does not have"},
		SameRelease:     {by: "part of release %s, which is kept"},
		DeclaredBy:      {by: "declared by %s, which is kept", many: "kept releases declare them"},
		UnreadableList:  {by: "the declarations of %s cannot be read, and may include it"},
		ChannelTarget:   {by: "the channel %s points at it"},
		UnreadableChan:  {by: "the channel %s cannot be read, and may point at it"},
		PartOf:          {by: "part of %s, which is kept"},
		SubjectOf:       {by: "subject of %s, which is kept"},
		RefersTo:        {by: "refers to %s, which is kept", many: "they refer to kept images"},
		InArchive:       {by: "in the archive %s, which is kept: --repack rewrites it"},
		Unclear:         {by: "%s"},
		Grace:           {by: "a prune removed its tags; the image itself is removed after %s"},
		Superseded:      {by: "superseded by %s"},
		Replaced:        {by: "its tag %s now points at another manifest", many: "their tags now point at other manifests"},
		DeclaredByGone:  {by: "only %s declared it", many: "only removed releases declared them"},
		RefersToGone:    {by: "it belongs to %s, which is removed", many: "they belong to removed images"},
		PrunedBefore:    {alone: "an earlier prune removed its tags"},
	}
}
