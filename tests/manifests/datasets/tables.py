"""Every public dataset's table, written as its makers write it."""

from pathlib import Path
from typing import Any

from nlbs.manifests.tables.table import ImageRow, Table, TableOptions, read_table


def read(folder: Path, *contents: str, keep: str = "", **options: Any) -> Table:
    """Writes tables into a folder and reads them together."""
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"table{number}.csv")
        paths[-1].write_bytes(content.encode())
    return read_table(paths, options=TableOptions(keep=tuple(keep.split(",")) if keep else (), **options))


def known(row: ImageRow) -> tuple[Any, ...]:
    """Return view, side, age, cancer and false positive."""
    return tuple(value for name, value in vars(row.conditions).items() if name != "age_bin")


# NLBS without separators.

DAMAGED = "abnormal\\109430185503\\left\\CC\\IM-0019-0002-0001.dcmLCC6600\n"


# VinDr-Mammo.

BREASTS = (
    "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,split\n"
    "b8d273e8601f348d3664778dae0e7e0b,b36517b9cbbcfd286a7ae04f643af97a,d8125545210c08e1b1793a5af6458ee2,L,CC,3518,2800,"
    "BI-RADS 2,DENSITY C,training\n"
    "8269f5971eaca3e5d3772d1796e6bd7a,d931832a0815df082c085b6e09d20aac,dd9ce3288c0773e006a294188aadba8e,R,MLO,3518,2800,"
    "BI-RADS 5,DENSITY D,test\n"
)
FINDINGS = BREASTS.splitlines()[0] + ",finding_categories,finding_birads,xmin,ymin,xmax,ymax\n" + (
    BREASTS.splitlines()[1] + ",['No Finding'],,,,,\n"
    + BREASTS.splitlines()[2] + ""","['Mass', 'Skin Thickening']",BI-RADS 5,1.0,2.0,3.0,4.0\n"""
    + BREASTS.splitlines()[2] + ",['Suspicious Calcification'],BI-RADS 4,5.0,6.0,7.0,8.0\n"
)  # fmt: skip


# RSNA Screening.

RSNA = (
    "site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,density,machine_id,"
    "difficult_negative_case\n"
    "2,10006,462822612,L,CC,61.0,0,0,0,,0,,29,False\n"
    "2,10006,1459541791,L,MLO,61.0,0,0,0,,0,,29,False\n"
    "1,10025,562340703,L,AT,,1,1,1,0.0,0,B,49,True\n"
)


# CBIS-DDSM.

MASS = (
    "patient_id,breast_density,left or right breast,image view,abnormality id,abnormality type,mass shape,mass margins,"
    "assessment,pathology,subtlety,image file path,cropped image file path,ROI mask file path\n"
)
CALC = MASS.replace("breast_density", "breast density").replace(
    "mass shape,mass margins", "calc type,calc distribution"
)


def cbis_row(
    kind: str, patient: str, side: str, view: str, number: int, pathology: str, density: int = 3
) -> str:
    """Gives a row of CBIS-DDSM: the cells of crop and mask end in a newline, as the real ones do."""
    name, uid = (
        f"{kind}_{patient}_{side}_{view}",
        "1.3.6.1.4.1.9590.100.1.2.342386194811267636608694132590482924515",
    )
    what = kind[:4].lower().replace("mass", "mass").replace("calc", "calcification")
    return (
        f"{patient},{density},{side},{view},{number},{what},IRREGULAR,SPICULATED,{3 + number},{pathology},4,"
        f'{name}/{uid}/{uid}/000000.dcm,"{name}_1/{uid}/{uid}/000001.dcm\n","{name}_1/{uid}/{uid}/000000.dcm\n"\n'
    )


MASS_TRAIN = MASS + (
    cbis_row("Mass-Training", "P_00001", "LEFT", "CC", 1, "BENIGN")
    + cbis_row("Mass-Training", "P_00001", "LEFT", "CC", 2, "MALIGNANT")
    + cbis_row("Mass-Training", "P_00004", "RIGHT", "MLO", 1, "BENIGN_WITHOUT_CALLBACK", density=0)
)
MASS_TEST = MASS + cbis_row("Mass-Test", "P_00016", "LEFT", "CC", 1, "BENIGN")
CALC_TRAIN = CALC + cbis_row("Calc-Training", "P_00005", "RIGHT", "CC", 1, "MALIGNANT")
CALC_TEST = CALC + cbis_row("Calc-Test", "P_00001", "LEFT", "MLO", 1, "BENIGN")


# CMMD.

CMMD = (
    "ID1,LeftRight,Age,number,abnormality,classification,subtype\n"
    "D1-0001,R,44,2,calcification,Benign,\nD1-0002,L,40,2,both,Benign,\nD2-0001,L,46,4,mass,Malignant,Luminal B\n"
)


# EMBED.

EMBED_FILES = (
    ",anon_dicom_path,empi_anon,acc_anon,study_date_anon,StudyDescription,FinalImageType,ImageLateralityFinal,"
    "ViewPosition,spot_mag\n"
    "0,/mnt/NAS2/mammo/anon_dicom/cohort_1/111/1.2/1.2.3/a.dcm,111,1001,2014-01-02,MG Screening,2D,L,MLO,\n"
    "1,/mnt/NAS2/mammo/anon_dicom/cohort_1/111/1.2/1.2.3/b.dcm,111,1001,2014-01-02,MG Screening,2D,R,CC,\n"
    "2,/mnt/NAS2/mammo/anon_dicom/cohort_1/222/1.2/1.2.3/c.dcm,222,2001,2015-01-02,MG Screening,2D,L,CC,\n"
    "3,/mnt/NAS2/mammo/anon_dicom/cohort_1/333/1.2/1.2.3/d.dcm,333,3001,2015-01-02,MG Diagnostic,2D,R,ML,1\n"
    "4,/mnt/NAS2/mammo/anon_dicom/cohort_1/444/1.2/1.2.3/e.dcm,444,4001,2015-01-02,MG Screening,2D,R,FB,\n"
)
EMBED_CLINICAL = (
    ",empi_anon,acc_anon,study_date_anon,desc,tissueden,asses,side,path_severity,age_at_study\n"
    "0,111,1001,2014-01-02 00:00:00,MG Screening Bilateral,2.0,A,L,,56.93\n"  # recalled on the left,
    "1,111,1002,2014-01-20 00:00:00,MG Diagnostic Left,2.0,B,L,,56.98\n"  # and found benign
    "2,111,1001,2014-01-02 00:00:00,MG Screening Bilateral,2.0,N,R,,56.93\n"
    "3,222,2001,2015-01-02 00:00:00,MG Screening Bilateral,5.0,A,B,,93.1\n"  # both breasts
    "4,222,2002,2015-01-20 00:00:00,MG Diagnostic Left,5.0,M,L,1.0,93.2\n"
    "5,333,3001,2015-01-02 00:00:00,MG Diagnostic Right,4.0,S,R,4.0,45.0\n"  # two findings of one breast
    "6,333,3001,2015-01-02 00:00:00,MG Diagnostic Right,4.0,M,R,0.0,45.0\n"
)


# INbreast.

INBREAST = (
    "Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads;Mass ;Micros;Distortion;Asymmetry\n"
    "removed;removed;R;CC;201001;22678622;4;1;;;;\n"
    "removed;removed;L;MLO;201001;22678646;     ;4a;X;X;;\n"
    "removed;removed;L;CC;201001;22678694;2;6;X;;;\n"
    ";;;;;;;;108;301;6;13\n"
    ";;;;;;;Total;116;308;;\n"
)


# NIH ChestX-ray14.

CHEST = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
    "00000001_000.png,Cardiomegaly,0,1,57,M,PA,2682,2749,0.14300000000000002,0.14300000000000002,\n"
    "00000001_001.png,Emphysema|Cardiomegaly,1,1,058Y,M,AP,2894,2729,0.143,0.143,\n"
    "00000002_000.png,No Finding,0,2,412,M,PA,2500,2048,0.171,0.171,\n"
)


# mini-MIAS.

MIAS = """        INFORMATION ABOUT THE MINI-MIAS DATABASE

1st column: MIAS database reference number.
2nd column: Character of background tissue:

mdb001 G CIRC B 535 425 197
mdb002 G CIRC B 522 280 69
mdb003 D NORM
mdb005 F CIRC B 477 133 30
mdb005 F SPIC M 500 168 26
mdb216 D CALC M *NOTE 3*
"""
