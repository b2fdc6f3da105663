package volume

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// NameKind is the kind of a file, judged by its name.
type NameKind string

// These are the kinds of file names.
const (
	// NameOther is a file that has nothing to do with archives. It may be a checksum, a document or
	// anything else.
	NameOther NameKind = "other"
	// NameArchive is NAME.tar.
	NameArchive NameKind = "archive"
	// NameChunk is NAME.tar.NNNN.chunk.
	NameChunk NameKind = "chunk"
	// NameForeign is an encrypted archive, or an archive or a part of one that must be renamed or joined.
	NameForeign NameKind = "foreign"
	// NameCompressed is a compressed archive, or a part of one. It must be unpacked to a plain .tar.
	NameCompressed NameKind = "compressed"
	// NameUpload is a temporary name. The file is still being written, or was left unfinished.
	NameUpload NameKind = "upload"
)

// NameClass is the result of classifying a file name.
type NameClass struct {
	Kind NameKind
	// Archive is the name of the archive to which the file belongs once the advice has been
	// followed. It is empty if the file has nothing to do with an archive.
	Archive string
	// Reason explains why the file is not read, and Advice says what to do. Both are empty for the
	// kinds NameArchive, NameChunk and NameOther.
	Reason, Advice string
	// Unread is set if the file looks like an archive but is not read. A source reports such a file.
	// It never reports *.tmp and names that begin with a dot, because the format reserves them.
	Unread bool
}

// These are patterns of file names. A part of an archive may be named by split(1) of GNU coreutils (suffixes
// aa, 00, 000, zaaa; --additional-suffix), by 7-Zip or HJSplit (001), or by hand (part1, chunk0001).
const (
	tarSuffix      = `\.tar`
	compressedTar  = `(?:\.tar(?:\.[0-9]+\.chunk)?\.(?:gz|z|zst|zstd|xz|bz2|bz|lz4|lz|lzma|lzo|br|sz|7z|zip|rar)|\.(?:tgz|taz|tbz2?|tb2|tz2|txz|tlz|tzst))`
	encryptedTar   = `(?:\.tar|` + compressedTar + `)\.(?:gpg|pgp|age|enc)`
	partLetters    = `(?:[a-z]{2}|a[a-z]{2}|aa[a-z]{2,3}|za[a-z]{2})`
	partWord       = `(?:part|chunk|split|vol|piece|disk|p)`
	partSuffix     = `(?:[._-]?` + partWord + `[._-]?(?:[0-9]+|` + partLetters + `)|[._-]?[0-9]+|[._-]` + partLetters + `|a[a-z]|[._-][0-9]+of[0-9]+)`
	temporaryWords = `(?:tmp|temp|part|partial|filepart|crdownload|opdownload|download|duckpart|aria2|lftp-pget-status|part\.minio|uploading|inprogress)`
)

var (
	compressedName = regexp.MustCompile(`(?i)^(.+?)(` + compressedTar + `)$`)
	compressedPart = regexp.MustCompile(`(?i)^(.+?)(` + compressedTar + `)(?:\.chunk|` + partSuffix + `(?:\.chunk)?)$`)
	encryptedName  = regexp.MustCompile(`(?i)^(.+?)` + encryptedTar + `$`)
	upperName      = regexp.MustCompile(`(?i)^(.+)` + tarSuffix + `$`)
	upperChunk     = regexp.MustCompile(`(?i)^(.+)` + tarSuffix + `\.([0-9]{4,})\.chunk$`)
	shortChunk     = regexp.MustCompile(`(?i)^(.+)` + tarSuffix + `[._-]?([0-9]{1,3})\.chunk$`)
	oddChunk       = regexp.MustCompile(`(?i)^(.+?)(?:` + tarSuffix + `.*|\.[0-9]+)\.chunk$`)
	foreignPart    = regexp.MustCompile(`(?i)^(.+)` + tarSuffix + `(` + partSuffix + `)$`)

	// noPart matches suffixes that look like the number or letters of a part, but have another meaning.
	noPart = regexp.MustCompile(`(?i)\.(?:ok|md|id|sh|py|js|ts|go|db|asc|sig)$`)

	temporarySuffix = regexp.MustCompile(`(?i)^(.+)\.` + temporaryWords + `$`)
	// rclone uploads to NAME.HASH.partial.
	rcloneName = regexp.MustCompile(`^(.+)\.[0-9a-zA-Z]{8}\.partial$`)
	// rsync uploads to .NAME.XXXXXX. lftp uploads to .in.NAME, and ProFTPD to the same name with a
	// dot at the end.
	rsyncName = regexp.MustCompile(`^\.(.+)\.[0-9A-Za-z]{6}$`)
	inName    = regexp.MustCompile(`^\.in\.(.+?)\.?$`)
	// s3transfer, a library of the AWS tools, downloads to NAME.XXXXXXXX.
	awsName = regexp.MustCompile(`^(.+(?:\.tar|\.chunk))\.[0-9A-Fa-f]{8}$`)
	digits  = regexp.MustCompile(`^[0-9]+$`)

	// bundleFile matches the files of a bundle other than archives and chunks. Uploads give them
	// temporary names, too.
	bundleFile = regexp.MustCompile(`^(?:index\.json|oci-layout|[0-9a-f]{64}|[0-9a-f]{128}|.+\.(?:gostsum|sha256|ya?ml|json))$`)
)

// isArchive reports whether the name is that of an archive or a chunk.
func (c NameClass) isArchive() bool { return c.Kind == NameArchive || c.Kind == NameChunk }

// looksLikeArchive reports whether the name is that of an archive or a chunk, or looks like one.
func (c NameClass) looksLikeArchive() bool { return c.isArchive() || c.Unread }

// ClassifyName classifies a file name, given without its directory. It does not check the file
// itself, so the name may belong to a directory.
func ClassifyName(name string) NameClass {
	if name == "index.json" || name == "oci-layout" {
		return NameClass{Kind: NameOther} // most files in a tree have these names
	}
	if strings.HasPrefix(name, ".") {
		return classifyHidden(name)
	}
	if archive, _, ok := names.ParseChunk(name); ok {
		return NameClass{Kind: NameChunk, Archive: archive}
	}
	if strings.HasSuffix(name, ".tar") {
		return NameClass{Kind: NameArchive, Archive: name}
	}
	if c, ok := classifyUpload(name); ok {
		return c
	}
	if c, ok := classifyCompressed(name); ok {
		return c
	}
	if c, ok := classifyForeign(name); ok {
		return c
	}
	return NameClass{Kind: NameOther}
}

// classifyHidden classifies a name that begins with a dot. Such a file is never read.
func classifyHidden(name string) NameClass {
	upload := func(of string) NameClass {
		return NameClass{Kind: NameUpload, Archive: archiveOf(of), Reason: uploading(of), Advice: uploadAdvice}
	}
	if m := inName.FindStringSubmatch(name); m != nil {
		return upload(m[1])
	}
	if m := rsyncName.FindStringSubmatch(name); m != nil && (archiveOf(m[1]) != "" || bundleFile.MatchString(m[1])) {
		return upload(m[1])
	}
	if m := temporarySuffix.FindStringSubmatch(name); m != nil {
		return upload(strings.TrimPrefix(m[1], "."))
	}
	return NameClass{Kind: NameOther}
}

const uploadAdvice = "wait for the upload to end, or remove the file if nothing writes it any more"

func uploading(of string) string {
	return fmt.Sprintf("a temporary name of %s, which is still being written or was left unfinished", of)
}

func classifyUpload(name string) (NameClass, bool) {
	m := rcloneName.FindStringSubmatch(name)
	if m == nil || archiveOf(m[1]) == "" {
		if m = awsName.FindStringSubmatch(name); m != nil && digits.MatchString(name[len(m[1])+1:]) {
			m = nil // a date
		}
	}
	if m == nil {
		m = temporarySuffix.FindStringSubmatch(name)
	}
	if m == nil {
		return NameClass{}, false
	}
	archive := archiveOf(m[1])
	return NameClass{Kind: NameUpload, Archive: archive, Reason: uploading(m[1]), Advice: uploadAdvice,
		Unread: archive != "" && !strings.HasSuffix(strings.ToLower(name), ".tmp")}, true
}

// archiveOf returns the name of the archive to which a file belongs. The result is empty if there
// is none, or if the file name is temporary.
func archiveOf(name string) string {
	if c := ClassifyName(name); c.Kind != NameUpload {
		return c.Archive
	}
	return ""
}

// unpackers contains the commands that unpack a file in place, by the end of the file name.
var unpackers = []struct{ suffix, command string }{
	{"gz", "gunzip"}, {".z", "gunzip"}, {".taz", "gunzip"}, {"zst", "unzstd"}, {"zstd", "unzstd"}, {"xz", "unxz"},
	{"bz2", "bunzip2"}, {"bz", "bunzip2"}, {"tb2", "bunzip2"}, {"tz2", "bunzip2"}, {"lz4", "unlz4"}, {"lzma", "unlzma"}, {".tlz", "unlzma"},
	{".lz", "lzip -d"}, {"lzo", "lzop -d"}, {"br", "brotli -d"}, {"zip", "unzip"}, {"7z", "7z x"}, {"rar", "unrar x"},
}

func classifyCompressed(name string) (NameClass, bool) {
	if m := encryptedName.FindStringSubmatch(name); m != nil {
		return skippedClass(NameForeign, m[1]+".tar", "an encrypted archive", fmt.Sprintf("decrypt it to %s", m[1]+".tar")), true
	}
	lower := strings.ToLower(name)
	if m := compressedName.FindStringSubmatch(name); m != nil {
		for _, u := range unpackers {
			if strings.HasSuffix(lower, u.suffix) || u.suffix == "gz" && strings.HasSuffix(lower, ".tgz") {
				return skippedClass(NameCompressed, m[1]+".tar", "it is compressed", "unpack it to a plain .tar: "+u.command+" "+shellQuote(name)), true
			}
		}
		return skippedClass(NameCompressed, m[1]+".tar", "it is compressed", "unpack it to a plain .tar"), true
	}
	if m := compressedPart.FindStringSubmatch(name); m != nil && !noPart.MatchString(name) {
		return skippedClass(NameCompressed, m[1]+".tar", "a part of a compressed archive",
			fmt.Sprintf("join the parts of the archive, then unpack the result to %s", m[1]+".tar")), true
	}
	return NameClass{}, false
}

func classifyForeign(name string) (NameClass, bool) {
	rename := func(m []string, to, reason string) (NameClass, bool) {
		return skippedClass(NameForeign, m[1]+".tar", reason, fmt.Sprintf("mv %s %s", shellQuote(name), shellQuote(to))), true
	}
	if m := upperName.FindStringSubmatch(name); m != nil {
		return rename(m, m[1]+".tar", "an archive's name must end in .tar, in lower case")
	}
	if m := upperChunk.FindStringSubmatch(name); m != nil {
		return rename(m, m[1]+".tar."+m[2]+".chunk", "a chunk's name must end in .tar.NNNN.chunk, in lower case")
	}
	if m := shortChunk.FindStringSubmatch(name); m != nil {
		return rename(m, fmt.Sprintf("%s.tar.%04s.chunk", m[1], m[2]), "a chunk's number must have at least four digits, starting at 0000")
	}
	if m := foreignPart.FindStringSubmatch(name); m != nil && !noPart.MatchString(name) {
		stem := name[:len(name)-len(m[2])]
		to := m[1] + ".tar"
		return skippedClass(NameForeign, to, "a part or a copy of an archive, named by another tool",
			fmt.Sprintf("join the parts: cat %s > %s, or rename the file if it is the whole archive", shellQuote(stem)+partPattern(m[2]), shellQuote(to))), true
	}
	if m := oddChunk.FindStringSubmatch(name); m != nil {
		return skippedClass(NameForeign, m[1]+".tar", "a chunk whose name is not NAME.tar.NNNN.chunk", "rename the file: NNNN is the number of the chunk, starting at 0000"), true
	}
	return NameClass{}, false
}

func skippedClass(kind NameKind, archive, reason, advice string) NameClass {
	return NameClass{Kind: kind, Archive: archive, Reason: reason, Advice: advice, Unread: true}
}

var (
	partBegin = regexp.MustCompile(`(?i)^[._-]?` + partWord + `[._-]?`)
	// partCount matches the number or letters at the end of a part's suffix.
	partCount = regexp.MustCompile(`(?i)(?:[0-9]+|[a-z]{2,5})$`)
)

// partPattern returns a shell pattern that matches the suffixes of all parts. suffix is that of one part.
func partPattern(suffix string) string {
	word := partBegin.FindString(suffix)
	if word == suffix || len(partCount.FindString(suffix[len(word):])) == 0 {
		word = ""
	}
	count := partCount.FindString(suffix[len(word):])
	return suffix[:len(suffix)-len(count)] + strings.Repeat("?", len(count))
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9._+=:@%,/-]+$`)

// shellQuote quotes a file name for use in a shell command.
func shellQuote(name string) string {
	if plainName.MatchString(name) && !strings.HasPrefix(name, "-") {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}
